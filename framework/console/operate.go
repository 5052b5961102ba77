package console

import (
	"cmp"
	"context"
	"crypto/rand"
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

	"wsframe/framework"
	"wsframe/framework/auth"
	"wsframe/framework/manager"
	"wsframe/framework/process"
	"wsframe/library/config"
	"wsframe/library/db"
	"wsframe/library/log"
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

// dialWith reaches the manager of a server: the one that the flags name, else the one that runs with the runtime directory, else the
// one that the config names.
func (c *console) dialWith(ctx context.Context, cfg *config.Config) (*manager.Client, error) {
	m := &cfg.App.Manager
	addr := local(net.JoinHostPort(cmp.Or(c.host, m.Host), strconv.Itoa(cmp.Or(c.port, m.Port))))
	place, err := process.ReadLocation(cfg.App.Runtime.Dir)
	if c.host != "" || c.port != 0 || err != nil || local(place.Manager) == addr {
		client, err := manager.Dial(ctx, addr, m.Token)
		if err != nil && place.Manager == "" && c.host == "" && c.port == 0 {
			err = fmt.Errorf("%w; no server runs with the runtime directory %s", err, cfg.App.Runtime.Dir)
		}
		return client, err
	}
	client, first := manager.Dial(ctx, local(place.Manager), m.Token)
	if first == nil {
		return client, nil
	}
	if client, err = manager.Dial(ctx, addr, m.Token); err != nil { // the place may be that of a server which was killed
		return nil, fmt.Errorf("%w (by %s); by the configuration: %w", first, cfg.App.Runtime.Dir, err)
	}
	return client, nil
}

// local makes an address that can be dialled of one that is listened on.
func local(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
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
	running, err := c.runs(cfg)
	if err != nil {
		return err
	}
	if !running {
		fmt.Fprintln(c.out, "no server runs with the runtime directory "+cfg.App.Runtime.Dir+": it is started")
		return c.start(ctx)
	}
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

// runs tells whether a server runs with the runtime directory. The configuration must have the files that it was started with.
func (c *console) runs(cfg *config.Config) (bool, error) {
	if !process.Running(cfg.App.Runtime.Dir) {
		return false, nil
	}
	place, err := process.ReadLocation(cfg.App.Runtime.Dir)
	if err != nil {
		return true, nil // one that is only starting
	}
	return true, cfg.Keeps(c.configDir, place.Files)
}

// reload waits for the end and tells what happened.
func (c *console) reload(ctx context.Context) error {
	return c.ask(ctx, reloadTime, func(ctx context.Context, m *manager.Client) error {
		r, err := m.Reload(ctx, c.check)
		if err != nil {
			return err
		}
		for _, note := range r.Notes {
			fmt.Fprintln(c.out, "note:", log.EscapeLine(note))
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
			cells(w, n.ID, cmp.Or(n.Address, n.Host, "-"), n.State, refreshed, n.Connections, n.UIDs, n.Rooms,
				since, n.WorkerPID, cmp.Or(n.Version, "-"))
		}
		return w.Flush()
	})
}

// cells writes a row of a table; whatever stands in a value stays in its cell.
func cells(w io.Writer, values ...any) {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = log.EscapeLine(fmt.Sprint(v))
	}
	fmt.Fprintln(w, strings.Join(list, "\t"))
}

func (c *console) connections(ctx context.Context) error {
	return c.ask(ctx, time.Minute, func(ctx context.Context, m *manager.Client) error {
		list, err := allConnections(ctx, m)
		if err != nil {
			return err
		}
		if c.json {
			return c.encode(list)
		}
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "FD\tID\tTYPE\tCODE\tREMOTE\tSINCE\tIDLE\tIN\tOUT\tOUTBOX\tROOMS")
		for _, i := range list {
			cells(w, i.FD, i.ID, i.Type, i.Code, i.Remote, time.Unix(i.Since, 0).Format(time.DateTime), fmt.Sprint(i.IdleSeconds, "s"),
				i.MessagesIn, i.MessagesOut, i.OutboxBytes, i.Rooms)
		}
		return w.Flush()
	})
}

// allConnections asks page by page; there is a list even where nobody is connected.
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

// token issues one with the server's key: that of the config, else the one that the running server says it uses. It makes none.
func (c *console) token(ctx context.Context) error {
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
	path, err := c.keyFile(ctx, cfg)
	if err != nil {
		return fmt.Errorf("issue token: %w", err)
	}
	load := auth.LoadKey
	if c.legacy { // it needs the other key only
		load = func(string) (string, bool, error) { return rand.Text() + rand.Text(), false, nil }
	}
	tokens, _, notes, err := openTokens(cfg, path, load)
	if err != nil {
		return err
	}
	if c.legacy {
		notes = nil
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

// keyFile is where the key lies that the server takes, where none is configured here.
func (c *console) keyFile(ctx context.Context, cfg *config.Config) (string, error) {
	if key, _ := configuredKey(cfg); key != "" || c.legacy {
		return runtimeKey(cfg), nil
	}
	s, err := c.running(ctx, cfg)
	if err != nil { // no server answers: the key of the one that ran here last
		if _, missing := os.Stat(runtimeKey(cfg)); missing != nil {
			return "", fmt.Errorf("auth.key is not configured here, %s does not exist, and %w", runtimeKey(cfg), err)
		}
		return runtimeKey(cfg), nil
	}
	if s.KeyFile == "" {
		return "", fmt.Errorf("the running server (runtime directory %s) has auth.key in its configuration, and this one has none: name that by -c, or set WSFRAME_APP_AUTH_KEY",
			s.RuntimeDir)
	}
	return s.KeyFile, nil
}

// running asks the server that answers what it is.
func (c *console) running(ctx context.Context, cfg *config.Config) (s manager.Status, err error) {
	err = c.askWith(ctx, cfg, askTime, func(ctx context.Context, m *manager.Client) error {
		s, err = m.Status(ctx)
		return err
	})
	return s, err
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
	controllers, err := c.program.Controllers(framework.Deps{DB: orm, Redis: client, Log: zap.NewNop()})
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
