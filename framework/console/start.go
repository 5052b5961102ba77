package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework/auth"
	"wsframe/framework/bus"
	"wsframe/framework/cluster"
	"wsframe/framework/process"
	"wsframe/library/cache"
	"wsframe/library/config"
	"wsframe/library/log"
)

// load reads the configuration; whatever is wrong with it is one line.
func (c *console) load() (*config.Config, error) {
	cfg, err := c.read()
	return cfg, oneLine(err)
}

func (c *console) checkDir() error {
	if _, err := os.Stat(c.configDir); err != nil && c.configDir != "config" {
		return fmt.Errorf("config directory: %w", err)
	}
	return nil
}

func (c *console) read() (*config.Config, error) {
	if err := c.checkDir(); err != nil {
		return nil, err
	}
	return config.Load(c.configDir, c.env)
}

// start runs the master in the foreground, or starts one in the background.
func (c *console) start(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if c.daemon {
		return c.startDaemon(cfg)
	}
	c.guard()
	parent := c.detached()
	self, err := program()
	if err != nil {
		return err
	}
	if err := makePrivate(cfg.App.Runtime.Dir); err != nil {
		return err
	}
	l, err := openLog(cfg, "master")
	if err != nil {
		return err
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	master := process.New(process.MasterConfig{
		Sockets: []process.Socket{
			{Name: "outside", Key: "outside.port", Host: cfg.App.Outside.Host, Port: cfg.App.Outside.Port},
			{Name: "push", Key: "push.port", Host: cfg.App.Push.Host, Port: cfg.App.Push.Port},
		},
		Manager:    process.Socket{Name: "manager", Key: "manager.port", Host: cfg.App.Manager.Host, Port: cfg.App.Manager.Port},
		Token:      cfg.App.Manager.Token,
		RuntimeDir: cfg.App.Runtime.Dir,
		Command:    []string{self, "-s", "start", "-c", c.configDir},
		Env:        c.env, OpenStore: c.storeOpener(cfg, l.Logger), StoreKind: cfg.Cache.Master.Driver, Version: c.program.Version,
		ReadyTime: cfg.App.Limits.BootTimeout, StopGrace: cfg.App.Limits.StopGrace, DrainTime: cfg.App.Limits.ReloadDrain,
		HangTime: cfg.App.Limits.WorkerHang, Files: cfg.Files(),
		Detached: parent != nil, Log: l.Logger, Stdout: c.out, Stderr: c.err,
		Reopen: func() {
			if err := l.Reopen(); err != nil {
				l.Error("reopen the log", zap.Error(err))
			}
		},
		Started: func(s process.Started) {
			l.Info("server is ready", zap.Any("addrs", s.Addrs), zap.String("store", cfg.Cache.Master.Driver))
			for _, n := range s.Notes {
				l.Quiet.Warn("note at start", zap.String("says", n)) // people have it on stdout
			}
			c.printStart(cfg, s)
			c.detach(parent, l)
		},
		Reloaded: func() { c.reconfigure(l) },
		Notify:   notify,
		Alive:    watchdog(),
	})
	go c.signals(ctx, master, openTerminal(), l.Logger)
	err = master.Run(ctx)
	if n := c.stdio.Lost(); n > 0 {
		l.Quiet.Warn("lines were not printed, since nobody read them", zap.Int64("lines", n))
	}
	if err == nil {
		l.Info("server has stopped")
		return nil
	}
	l.Quiet.Error("server has stopped", zap.Error(err))
	return err
}

// storeOpener opens the embedded store, where that is the configured one.
func (c *console) storeOpener(cfg *config.Config, l *zap.Logger) func(context.Context) (process.Store, error) {
	m := &cfg.Cache.Master
	if m.Driver != "embedded" {
		return nil
	}
	return func(ctx context.Context) (process.Store, error) {
		e, err := cache.OpenEmbedded(ctx, cache.EmbeddedConfig{
			Dir: filepath.Join(cfg.App.Runtime.Dir, "store"), Save: m.Save, Log: l,
			Loaded: func(ctx context.Context, client redis.UniversalClient, clean bool) error {
				return prepareStore(ctx, client, cfg, clean)
			},
		})
		if err != nil {
			return process.Store{}, err
		}
		s := process.Store{Addr: e.Addr(), Password: e.Password(), Close: e.Close}
		if note := e.Note(); note != "" {
			s.Notes = []string{note}
		}
		return s, nil
	}
}

// prepareStore replaces what the processes of before have left in the embedded store, before new ones use it.
func prepareStore(ctx context.Context, client redis.UniversalClient, cfg *config.Config, clean bool) error {
	prefix := cfg.Cache.Master.Prefix
	if !clean {
		if err := bus.NewEpochs(ctx, client, prefix); err != nil {
			return err
		}
	}
	if err := client.Del(ctx, prefix+pushPrefix+"ONLINE").Err(); err != nil { // else a page would not hear of the first count
		return fmt.Errorf("forget who was online: %w", err)
	}
	return cluster.TakeOver(ctx, client, prefix, nodeID(cfg))
}

// reconfigure takes over what of the configuration on disk is the master's and may change while it runs: the level of its log.
func (c *console) reconfigure(l *log.Logger) {
	cfg, err := c.load() // the worker has read it too, a moment before
	if err == nil {
		err = l.SetLevel(cfg.App.Log.Level)
	}
	if err != nil {
		l.Error("the master keeps its configuration", zap.Error(err))
	}
}

// program is the path by which this program was started, links unresolved: a release that is switched by a symbolic link is found
// there after the switch, and a file that takes the place of this one is too.
func program() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	path, err := exec.LookPath(os.Args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return self, nil
	}
	if path, err = filepath.Abs(path); err != nil {
		return self, nil
	}
	// The first argument is the caller's word only.
	a, errA := os.Stat(path)
	b, errB := os.Stat(self)
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		return self, nil
	}
	return path, nil
}

// signals: SIGTERM and Ctrl-C stop gracefully and, a second time, at once; SIGHUP reloads; SIGUSR1 reopens the logs. A server on a
// terminal, which may be nil, stops when that is closed.
func (c *console) signals(ctx context.Context, m *process.Master, t *terminal, l *zap.Logger) {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, append([]os.Signal{os.Interrupt, syscall.SIGTERM}, extraSignals...)...)
	defer signal.Stop(ch)
	look := time.NewTicker(time.Second)
	defer look.Stop()
	hup := t != nil && t.whole
	for {
		var s os.Signal
		select {
		case s = <-ch:
			l.Info("signal", zap.Stringer("signal", s))
			hup = hup || isReload(s)
		case <-look.C:
		case <-ctx.Done():
			return
		}
		if t != nil && hup && t.gone() {
			l.Info("the terminal was closed; the server stops")
			_ = m.Stop(ctx, true) // it has no error
			t, s = nil, nil
		}
		switch {
		case s == nil:
		case s == os.Interrupt || s == syscall.SIGTERM:
			_ = m.Stop(ctx, true) // it has no error
		case isReload(s):
			go func() {
				if _, err := m.Reload(ctx, false); err != nil {
					fmt.Fprintln(c.err, "console: reload:", err)
				}
			}()
		default:
			m.ReopenLogs()
		}
	}
}

func (c *console) printStart(cfg *config.Config, s process.Started) {
	var w bytes.Buffer
	fmt.Fprintf(&w, "wsframe %s\n\n", c.program.Version)
	printRoutes(&w, s.Routes)
	fmt.Fprintf(&w, "\noutside  ws://%s/\nmanager  ws://%s/\npush     http://%s/\nstore    %s\ndatabase %s\n", s.Addrs["outside"], s.Addrs["manager"], s.Addrs["push"], cfg.Cache.Master.Driver, cfg.DB.Master.Driver)
	for _, n := range s.Notes {
		fmt.Fprintln(&w, "note:", n)
	}
	if cfg.App.Demo && len(c.program.Demo) > 0 {
		c.printDemo(&w, cfg, s.Addrs["outside"])
	}
	_, _ = w.WriteTo(c.out) // at once: who waits for a line of it has the others
}

// printDemo prints links with fresh tokens in the fragment, which browsers do not send and servers do not log.
func (c *console) printDemo(w io.Writer, cfg *config.Config, addr string) {
	tokens, _, _, err := openTokens(cfg, runtimeKey(cfg), auth.LoadKey)
	if err != nil {
		fmt.Fprintln(c.err, "console: demo links:", err)
		return
	}
	if host, port, err := net.SplitHostPort(addr); err == nil && net.ParseIP(host).IsUnspecified() {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	fmt.Fprintln(w, "\ndemo:")
	for _, page := range c.program.Demo {
		token, err := tokens.Issue(page.Identity)
		if err != nil {
			fmt.Fprintln(c.err, "console: demo links:", err)
			return
		}
		fmt.Fprintf(w, "  http://%s/static/%s#auth=%s\n", addr, page.Page, url.QueryEscape(token))
	}
}
