package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"wsframe/framework/manager"
	"wsframe/library/socket"
)

// Master starts and replaces workers. It implements manager.Backend. Methods but Run are safe for
// concurrent use.
//
//	supervisor  restarts a worker that has ended
//	reloader    replaces the one that serves
//	watchdog    kills one that hangs
//	roster      which worker serves: the other three agree by it
//	workers     the processes
type Master struct {
	cfg      MasterConfig
	addrs    map[string]string // of the listeners, by name
	roster   *roster
	workers  *workers
	states   *announcer
	reloader *reloader
}

var _ manager.Backend = (*Master)(nil)

// New makes a Master; Run starts it.
func New(cfg MasterConfig) *Master {
	cfg.fill()
	m := &Master{cfg: cfg, addrs: map[string]string{}, roster: newRoster(cfg.Files, cfg.StopGrace), states: &announcer{notify: cfg.Notify}}
	m.workers = newWorkers(&m.cfg, m.roster)
	m.reloader = &reloader{cfg: &m.cfg, roster: m.roster, workers: m.workers, states: m.states, locate: m.locate}
	return m
}

// Run serves until ctx ends or Stop is called, then ends the worker. A stop before the first worker
// is ready is no error. The pid file is written when the server serves.
func (m *Master) Run(ctx context.Context) error {
	defer m.roster.endLife()
	if err := os.MkdirAll(m.cfg.RuntimeDir, 0o700); err != nil {
		return fmt.Errorf("the runtime directory cannot be made: %w", err)
	}
	defer reapOrphans(m.workers)()
	held, err := lock(m.cfg.RuntimeDir)
	if err != nil {
		return err
	}
	defer held.Close()
	defer m.workers.closeListeners()
	admin, err := m.listen()
	if err != nil {
		return err
	}
	if err := m.locate(); err != nil {
		return errors.Join(err, admin.Close())
	}
	defer os.Remove(locationFile(m.cfg.RuntimeDir))

	boot, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.roster.life, cancel)()
	if m.cfg.OpenStore != nil {
		if m.workers.store, err = m.cfg.OpenStore(boot); err != nil {
			return errors.Join(err, admin.Close())
		}
		defer m.workers.store.Close()
	}
	first, err := m.workers.start(boot)
	if err != nil {
		if boot.Err() != nil {
			err = nil
		}
		return errors.Join(err, admin.Close())
	}
	m.roster.appoint(first)
	if err := writePID(m.cfg.RuntimeDir); err != nil {
		return errors.Join(err, m.endWorker(), admin.Close())
	}
	defer os.Remove(PIDFile(m.cfg.RuntimeDir))
	return m.serve(ctx, admin, first)
}

// serve runs from the moment in which the first worker serves.
func (m *Master) serve(ctx context.Context, admin net.Listener, first *child) error {
	server := manager.NewServer(manager.Config{Backend: m, Token: m.cfg.Token, Log: m.cfg.Log})
	served := make(chan error, 1)
	go func() { served <- server.Serve(admin) }()
	if m.cfg.Started != nil {
		m.cfg.Started(Started{first.info.Routes, m.addrs, append(m.workers.store.Notes, first.info.Notes...)})
	}
	m.states.mu.Lock()
	m.states.say(Serving)
	m.states.mu.Unlock()
	supervised, watched, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(supervised)
		newSupervisor(m.roster, m.workers, m.cfg.Log).run()
	}()
	go func() {
		defer close(watched)
		(&watchdog{m.roster, m.cfg.Alive, m.cfg.Log}).run(done)
	}()
	select {
	case <-ctx.Done():
		m.beginStop(true)
	case <-m.roster.life.Done():
	}
	err := m.endWorker()
	m.reloader.running.Wait() // the old worker of a reload may still be closing its connections
	<-supervised
	close(done)
	<-watched
	server.Close()
	return errors.Join(err, <-served)
}

// listen opens the sockets, which workers inherit, and the manager's.
func (m *Master) listen() (admin net.Listener, err error) {
	for _, s := range m.cfg.Sockets {
		ln, err := open(s)
		if err != nil {
			return nil, err
		}
		m.addrs[s.Name] = ln.Addr().String()
		f, err := socketFile(ln)
		_ = ln.Close() // the file is a duplicate
		if err != nil {
			return nil, fmt.Errorf("listen for %s: %w", s.Name, err)
		}
		m.workers.listeners = append(m.workers.listeners, f)
	}
	ln, err := open(m.cfg.Manager)
	if err != nil {
		return nil, err
	}
	m.addrs[m.cfg.Manager.Name] = ln.Addr().String()
	return ln, nil
}

// open listens. Its error names the setting.
func open(s Socket) (*net.TCPListener, error) {
	ln, err := socket.Listen(context.Background(), net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		var call *os.SyscallError
		if errors.As(err, &call) {
			err = call.Err
		}
		return nil, fmt.Errorf("%s %s:%d: %w (config/app.yaml: %s)", s.Name, s.Host, s.Port, err, s.Key)
	}
	return ln, nil
}

// locate notes in the runtime directory where the server is.
func (m *Master) locate() error {
	return writeLocation(m.cfg.RuntimeDir, Location{os.Getpid(), m.addrs[m.cfg.Manager.Name], m.roster.configFiles()})
}

// endWorker stops the worker that serves and waits for its end.
func (m *Master) endWorker() error {
	c := m.reloader.serving()
	if c == nil {
		return nil
	}
	grace := m.roster.stopGrace()
	_, err := m.roster.end(c, stopRequest{Code: 1001, Reason: "server is going away", Spread: grace / 2, Grace: grace})
	return err
}

// Reload implements manager.Backend: see reloader.Reload.
func (m *Master) Reload(ctx context.Context, check bool) (manager.ReloadReport, error) {
	return m.reloader.Reload(ctx, check)
}

// Stop ends the server; it returns at once. A second call kills what is left.
func (m *Master) Stop(_ context.Context, graceful bool) error {
	if m.beginStop(graceful) {
		return nil
	}
	for _, c := range m.workers.all() {
		c.kill()
	}
	return nil
}

// beginStop reports whether this was the first request to stop.
func (m *Master) beginStop(graceful bool) bool {
	m.states.mu.Lock()
	defer m.states.mu.Unlock()
	first := m.roster.stop(graceful)
	if first {
		m.states.say(Stopping)
	}
	return first
}
