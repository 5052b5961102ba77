package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/app"
	"wsframe/framework"
	"wsframe/framework/auth"
	"wsframe/framework/manager"
	"wsframe/framework/process"
	"wsframe/library/config"
	"wsframe/library/db"
)

// askTime bounds every question to the server but a reload and a stop.
const askTime = 15 * time.Second

// reloadTime bounds a reload; the server has limits of its own for each of its steps.
const reloadTime = 6 * time.Minute

// operated is the configuration by which a running server is reached. That server may have been started before what stands there now
// was broken: then what can be read of it has to do.
func (c *console) operated() (*config.Config, error) {
	if err := c.checkDir(); err != nil {
		return nil, err
	}
	cfg, err := c.load()
	if err != nil {
		fmt.Fprintf(c.err, "console: note: %v (the manager's address and token are taken from what can be read)\n", err)
		cfg = config.Salvage(c.configDir, c.env)
	}
	return cfg, nil
}

// dialWith reaches the manager of the server that the flags or the config name.
func (c *console) dialWith(ctx context.Context, cfg *config.Config) (*manager.Client, error) {
	m := &cfg.App.Manager
	host, port := m.Host, m.Port
	if c.host != "" {
		host = c.host
	}
	if c.port != 0 {
		port = c.port
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return manager.Dial(ctx, net.JoinHostPort(host, strconv.Itoa(port)), m.Token)
}

// ask dials, asks one question, and says goodbye.
func (c *console) ask(ctx context.Context, limit time.Duration, question func(context.Context, *manager.Client) error) error {
	cfg, err := c.operated()
	if err != nil {
		return err
	}
	return c.askWith(ctx, cfg, limit, question)
}

func (c *console) askWith(ctx context.Context, cfg *config.Config, limit time.Duration, question func(context.Context, *manager.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client, err := c.dialWith(ctx, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	return question(ctx, client)
}

// stop ends the server and waits until it is gone.
func (c *console) stop(ctx context.Context) error {
	cfg, err := c.operated()
	if err != nil {
		return err
	}
	limit := cfg.App.Limits.StopGrace + 15*time.Second
	return c.askWith(ctx, cfg, limit, func(ctx context.Context, m *manager.Client) error {
		if err := m.Stop(ctx, c.graceful); err != nil {
			return err
		}
		// The master closes its admin port last.
		select {
		case <-m.Ended():
		case <-ctx.Done():
			return fmt.Errorf("the server has not ended in %v", limit)
		}
		fmt.Fprintln(c.out, "stopped")
		return nil
	})
}

func (c *console) restart(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	c.graceful, c.daemon = true, true
	if err := c.stop(ctx); err != nil {
		return err
	}
	// Its admin port is closed; the process itself ends within moments, and its pid file with it.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := process.ReadPID(cfg.App.Runtime.Dir); errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	return c.start(ctx)
}

// reload waits for the end and tells what happened.
func (c *console) reload(ctx context.Context) error {
	return c.ask(ctx, reloadTime, func(ctx context.Context, m *manager.Client) error {
		r, err := m.Reload(ctx, c.check)
		if err != nil {
			return err
		}
		for _, note := range r.Notes {
			fmt.Fprintln(c.out, "note:", note)
		}
		for _, route := range r.Added {
			fmt.Fprintln(c.out, "new route:", route)
		}
		for _, route := range r.Removed {
			fmt.Fprintln(c.out, "route gone:", route)
		}
		for _, route := range r.Changed {
			fmt.Fprintln(c.out, "route of another controller:", route)
		}
		if c.check {
			fmt.Fprintln(c.out, "the new worker would serve; nothing was changed")
			return nil
		}
		fmt.Fprintf(c.out, "%d connections moved, %d drained, pause %d ms, worker %d → %d\n", r.Moved, r.Drained, r.Pause.Milliseconds(), r.OldPID, r.NewPID)
		return nil
	})
}

func (c *console) status(ctx context.Context) error {
	return c.ask(ctx, askTime, func(ctx context.Context, m *manager.Client) error {
		s, err := m.Status(ctx)
		if err != nil {
			return err
		}
		if c.json {
			return c.encode(s)
		}
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		row := func(name string, v any) { fmt.Fprintf(w, "%s\t%v\n", name, v) }
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
		row("version", s.Version)
		if s.MasterVersion != s.Version {
			row("master's version", s.MasterVersion)
		}
		return w.Flush()
	})
}

func (c *console) encode(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// nodesLine counts the nodes and names them.
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

// nodes lists the servers that share the Redis; one that has an embedded store lists itself.
func (c *console) nodes(ctx context.Context) error {
	return c.ask(ctx, askTime, func(ctx context.Context, m *manager.Client) error {
		list, err := m.Nodes(ctx)
		if err != nil {
			return err
		}
		if c.json {
			return c.encode(list)
		}
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
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
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%d\t%s\n", n.ID, cmp.Or(n.Address, n.Host, "-"), n.State, refreshed, n.Connections, n.UIDs, n.Rooms,
				since, n.WorkerPID, cmp.Or(n.Version, "-"))
		}
		return w.Flush()
	})
}

func (c *console) connections(ctx context.Context) error {
	return c.ask(ctx, time.Minute, func(ctx context.Context, m *manager.Client) error {
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "FD\tID\tTYPE\tCODE\tREMOTE\tSINCE\tIDLE\tIN\tOUT\tOUTBOX\tROOMS")
		const page = 1000
		for offset := 0; ; offset += page {
			list, err := m.Connections(ctx, offset, page)
			if err != nil {
				return err
			}
			for _, i := range list {
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%ds\t%d\t%d\t%d\t%d\n", i.FD, i.ID, i.Type, i.Code, i.Remote,
					time.Unix(i.Since, 0).Format(time.DateTime), i.IdleSeconds, i.MessagesIn, i.MessagesOut, i.OutboxBytes, i.Rooms)
			}
			if len(list) < page {
				return w.Flush()
			}
		}
	})
}

func (c *console) say(ctx context.Context) error {
	if c.text == "" {
		return errors.New("what to say? console -s say -i TEXT")
	}
	return c.ask(ctx, askTime, func(ctx context.Context, m *manager.Client) error {
		n, err := m.Say(ctx, c.text)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "said to %d clients\n", n)
		return nil
	})
}

// token issues one with the server's key, which it need not be asked for: it lies in the config or under runtime.
func (c *console) token(context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if c.id == "" {
		return errors.New("whose token? console -s token -type T -id ID -code C -nickname N")
	}
	// What cannot be issued must not make a key.
	id := auth.Identity{ID: c.id, Type: c.userType, Code: c.code, Nickname: c.nickname, CTime: time.Now().Unix()}
	if err := id.Validate(); err != nil {
		return fmt.Errorf("issue token: %w", err)
	}
	if c.legacy && cfg.App.Auth.Key3DES == "" {
		return errors.New("issue token: auth.key_3des is empty")
	}
	if err := os.MkdirAll(cfg.App.Runtime.Dir, 0o755); err != nil {
		return fmt.Errorf("the runtime directory cannot be made: %w", err)
	}
	tokens, notes, err := openTokens(cfg)
	if err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintln(c.err, "note:", n)
	}
	issue := tokens.Issue
	if c.legacy {
		issue = tokens.Issue3DES
	}
	token, err := issue(id)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, token)
	return nil
}

// routes builds the table from the code, without a server: controllers are made on an empty database and a store that is
// not asked.
func (c *console) routes(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "wsframe-routes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	orm, err := db.Open(ctx, db.Options{Driver: "sqlite", DSN: filepath.Join(dir, "routes.db")})
	if err != nil {
		return err
	}
	defer db.Close(orm)
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:0"})
	defer client.Close()
	controllers, err := app.Controllers(framework.Deps{DB: orm, Redis: client, Log: zap.NewNop()})
	if err != nil {
		return err
	}
	list, err := framework.Routes(controllers)
	if err != nil {
		return err
	}
	printRoutes(c.out, routesOf(list))
	return nil
}

func printRoutes(out io.Writer, routes []process.Route) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range routes {
		fmt.Fprintf(w, "%s\t%s\n", r.Method, strings.TrimPrefix(r.Controller, "*"))
	}
	_ = w.Flush() // to a terminal
}

func (c *console) checkConfig(context.Context) error {
	cfg, err := c.read()
	if err != nil {
		return err
	}
	fmt.Fprint(c.out, cfg)
	for _, w := range cfg.Warnings() {
		fmt.Fprintln(c.out, "warning:", w)
	}
	fmt.Fprintln(c.out, "the configuration is valid")
	return nil
}
