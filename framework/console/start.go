package console

import (
	"context"
	"os"
	"slices"
	"strings"

	"go.uber.org/zap"

	"wsframe/framework/internal/boot"
	"wsframe/framework/process"
	"wsframe/library/config"
	"wsframe/library/log"
)

// starter runs the master in this process.
type starter struct {
	program  Program
	settings *settings
	out      *output
}

// start serves until the server is stopped.
func (s *starter) start(ctx context.Context) error {
	cfg, err := s.settings.load()
	if err != nil {
		return err
	}
	s.out.guard()
	parent := s.detached()
	self, err := executable()
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
	banner := &banner{s.program, s.out}
	master := process.New(process.MasterConfig{
		Sockets:    sockets(&cfg.App),
		Manager:    process.Socket{Name: "manager", Key: "manager.port", Host: cfg.App.Manager.Host, Port: cfg.App.Manager.Port},
		Token:      cfg.App.Manager.Token,
		RuntimeDir: cfg.App.Runtime.Dir,
		Command:    []string{self, "-s", "start", "-c", s.settings.dir},
		Env:        s.settings.env, OpenStore: boot.StoreOpener(cfg, l.Logger), StoreKind: cfg.Cache.Master.Driver, Version: s.program.Version,
		ReadyTime: cfg.App.Limits.BootTimeout, StopGrace: cfg.App.Limits.StopGrace, DrainTime: cfg.App.Limits.ReloadDrain,
		HangTime: cfg.App.Limits.WorkerHang, Files: cfg.Files(),
		Detached: parent != nil, Log: l.Logger, Stdout: s.out.out, Stderr: s.out.err,
		Reopen: func() {
			if err := l.Reopen(); err != nil {
				l.Error("reopen the log", zap.Error(err))
			}
		},
		Started: func(started process.Started) {
			l.Info("server is ready", zap.Any("addrs", started.Addrs), zap.String("store", cfg.Cache.Master.Driver))
			for _, n := range started.Notes {
				l.Quiet.Warn("note at start", zap.String("says", n)) // the banner has it for people
			}
			banner.print(cfg, started)
			s.detach(parent, l)
		},
		Reloaded: func() { s.reconfigure(l) },
		Notify:   notify,
		Alive:    watchdog(),
	})
	signals := &signalHandler{master, openTerminal(), l.Logger, s.out.err}
	go signals.run(ctx)
	err = master.Run(ctx)
	if n := s.out.stdio.Lost(); n > 0 {
		l.Quiet.Warn("lines were not printed, since nobody read them", zap.Int64("lines", n))
	}
	if err == nil {
		l.Info("server has stopped")
		return nil
	}
	l.Quiet.Error("server has stopped", zap.Error(err))
	return err
}

// sockets are the listeners that workers inherit.
func sockets(cfg *config.App) []process.Socket {
	list := []process.Socket{
		{Name: "outside", Key: "outside.port", Host: cfg.Outside.Host, Port: cfg.Outside.Port},
		{Name: "push", Key: "push.port", Host: cfg.Push.Host, Port: cfg.Push.Port},
	}
	if s := &cfg.SocketIO; s.Enabled {
		list = append(list, process.Socket{Name: "socketio", Key: "socketio.port", Host: s.Host, Port: s.Port})
	}
	g := &cfg.Gateway
	if !g.Enabled {
		return list
	}
	list = append(list,
		process.Socket{Name: "inner", Key: "gateway.start_port", Host: g.Inner().Host, Port: g.Inner().Port},
		process.Socket{Name: "register", Key: "gateway.register_port", Host: g.RegisterHost, Port: g.RegisterPort})
	if g.Port >= 0 {
		list = append(list, process.Socket{Name: "gateway", Key: "gateway.port", Host: g.Host, Port: g.Port})
	}
	return list
}

// reconfigure applies the one setting of the master that may change while it runs, the level of its
// log.
func (s *starter) reconfigure(l *log.Logger) {
	cfg, err := s.settings.load() // the worker has just read it, too
	if err == nil {
		err = l.SetLevel(cfg.App.Log.Level)
	}
	if err != nil {
		l.Error("the master keeps its configuration", zap.Error(err))
	}
}

// detached returns the pipe to the `start -d` that has started this process, or nil where none has.
func (s *starter) detached() *os.File {
	if os.Getenv(envDetached) == "" {
		return nil
	}
	_ = os.Unsetenv(envDetached)
	s.settings.env = slices.DeleteFunc(slices.Clone(s.settings.env), func(kv string) bool { return strings.HasPrefix(kv, envDetached+"=") })
	return inheritedFile(3, "start -d")
}

// detach notifies `start -d` that the server serves. From now on nobody reads console.out: all
// output goes to the log, which is rotated.
func (s *starter) detach(parent *os.File, l *log.Logger) {
	if parent == nil {
		return
	}
	l.Hush()
	s.out.stdio.Out.Redirect(l.Printed())
	s.out.stdio.Err.Redirect(l.Printed())
	_, _ = parent.WriteString("serves\n") // its process may have ended
	_ = parent.Close()
}
