package console

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"go.uber.org/zap"

	"wsframe/framework/internal/boot"
	"wsframe/framework/process"
	"wsframe/library/config"
	"wsframe/library/log"
)

// load reads the configuration; whatever is wrong with it is one line.
func (c *console) load() (*config.Config, error) {
	cfg, err := c.read()
	return cfg, boot.OneLine(err)
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
	l, err := boot.OpenLog(cfg, "master")
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
		Env:        c.env, OpenStore: boot.StoreOpener(cfg, l.Logger), StoreKind: cfg.Cache.Master.Driver, Version: c.program.Version,
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
