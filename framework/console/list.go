package console

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"wsframe/framework/manager"
	"wsframe/library/log"
)

// lists prints what a running server is doing, as tables or as JSON.
type lists struct {
	remote *remote
	out    *output
	json   bool
}

func (l *lists) status(ctx context.Context) error {
	return l.remote.ask(ctx, askTime, func(ctx context.Context, m *manager.Client) error {
		s, err := m.Status(ctx)
		if err != nil {
			return err
		}
		return l.show(s, func(w io.Writer) {
			row := func(name string, v any) { fmt.Fprintf(w, "%s\t%s\n", name, log.EscapeLine(fmt.Sprint(v))) }
			if s.WorkerState == manager.WorkerHangs {
				row("worker", fmt.Sprintf("hangs: it has not answered for %d s", s.WorkerSilentSeconds))
			} else if s.WorkerState != "" {
				row("worker", s.WorkerState)
			}
			row("connections", s.Connections)
			row("users", s.UIDs)
			row("rooms", s.Rooms)
			row("master pid", s.MasterPID)
			row("worker pid", s.WorkerPID)
			row("worker restarts", s.WorkerRestarts)
			row("memory", fmt.Sprintf("%d MB", s.MemoryBytes>>20))
			row("uptime", time.Duration(s.UptimeSeconds)*time.Second)
			row("messages in", s.MessagesIn)
			row("messages out", s.MessagesOut)
			row("bytes in", s.BytesIn)
			row("bytes out", s.BytesOut)
			row("closed as slow", s.ClosedSlow)
			row("closed as idle", s.ClosedIdle)
			row("frames dropped", s.Dropped)
			row("goroutines", s.Goroutines)
			row("store", fmt.Sprintf("%s (%d pending)", s.Store, s.StorePending))
			row("nodes", nodesLine(s.Nodes, s.NodesError))
			if g := s.Gateway; g != nil {
				row("gateway", fmt.Sprintf("%s (%d connections of PHP, %d workers)", g.Address, g.Peers, len(g.Workers)))
				for _, one := range g.Workers {
					row("worker of PHP", fmt.Sprintf("%s (%d clients, %d bytes waiting)", one.Key, one.Clients, one.WaitingBytes))
				}
			}
			row("version", s.Version)
			if s.MasterVersion != s.Version {
				row("master's version", s.MasterVersion)
			}
		})
	})
}

// show prints v as JSON, or as the table that rows writes. Each cell of it ends with a tab.
func (l *lists) show(v any, rows func(w io.Writer)) error {
	if l.json {
		e := json.NewEncoder(l.out.out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	w := tabwriter.NewWriter(l.out.out, 0, 0, 2, ' ', 0)
	rows(w)
	return w.Flush()
}

// nodesLine returns the number and the names of the nodes, and why others are not known.
func nodesLine(list []manager.NodeInfo, failed string) string {
	names := make([]string, len(list))
	for i, n := range list {
		names[i] = n.ID
		if n.State != manager.NodeAlive {
			names[i] += " " + n.State
		}
	}
	line := fmt.Sprintf("%d (%s)", len(list), strings.Join(names, ", "))
	if failed != "" {
		line += "; others are not known: " + failed
	}
	return line
}

// nodes lists the servers that share the Redis. A server with an embedded store lists itself alone.
func (l *lists) nodes(ctx context.Context) error {
	return l.remote.ask(ctx, askTime, func(ctx context.Context, m *manager.Client) error {
		list, err := m.Nodes(ctx)
		if err != nil {
			return err
		}
		return l.show(list, func(w io.Writer) {
			fmt.Fprintln(w, "NODE\tADDRESS\tSTATE\tREFRESHED\tCONNECTIONS\tUSERS\tROOMS\tSINCE\tWORKER\tVERSION")
			for _, n := range list {
				since, refreshed := "-", "-"
				if n.Since > 0 {
					since = time.Unix(n.Since, 0).Format(time.DateTime)
				}
				switch {
				case n.Self:
					refreshed = "now"
				case n.RefreshedSeconds >= 0:
					refreshed = fmt.Sprintf("%d s ago", n.RefreshedSeconds)
				}
				cells(w, n.ID, cmp.Or(n.Address, n.Host, "-"), n.State, refreshed, n.Connections, n.UIDs, n.Rooms,
					since, n.WorkerPID, cmp.Or(n.Version, "-"))
			}
		})
	})
}

// cells writes a row of a table. Tabs and line ends in a value do not leave its cell.
func cells(w io.Writer, values ...any) {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = log.EscapeLine(fmt.Sprint(v))
	}
	fmt.Fprintln(w, strings.Join(list, "\t"))
}

func (l *lists) connections(ctx context.Context) error {
	return l.remote.ask(ctx, time.Minute, func(ctx context.Context, m *manager.Client) error {
		list, err := allConnections(ctx, m)
		if err != nil {
			return err
		}
		return l.show(list, func(w io.Writer) {
			fmt.Fprintln(w, "FD\tID\tTYPE\tCODE\tREMOTE\tSINCE\tIDLE\tIN\tOUT\tOUTBOX\tROOMS")
			for _, i := range list {
				cells(w, i.FD, i.ID, i.Type, i.Code, i.Remote, time.Unix(i.Since, 0).Format(time.DateTime), fmt.Sprint(i.IdleSeconds, "s"),
					i.MessagesIn, i.MessagesOut, i.OutboxBytes, i.Rooms)
			}
		})
	})
}

// allConnections reads all pages. The list is empty rather than nil where nobody is connected.
func allConnections(ctx context.Context, m *manager.Client) ([]manager.ConnInfo, error) {
	const page = 1000
	all := []manager.ConnInfo{}
	for {
		list, err := m.Connections(ctx, len(all), page)
		if err != nil {
			return nil, err
		}
		if all = append(all, list...); len(list) < page {
			return all, nil
		}
	}
}
