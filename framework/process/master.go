package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/manager"
)

// Socket is a listener that workers inherit.
type Socket struct {
	Name string // outside
	Key  string // of the config, for errors
	Host string
	Port int
}

// MasterConfig of a Master.
type MasterConfig struct {
	Sockets    []Socket
	Manager    Socket
	Token      string // of the manager port
	RuntimeDir string
	Command    []string // of the worker
	Env        []string
	Store      Store  // given to workers
	StoreKind  string // embedded or redis
	Version    string
	ReadyTime  time.Duration // for a worker to boot; 30 s
	StopGrace  time.Duration
	DrainTime  time.Duration // the old worker's time to end at a reload
	Log        *zap.Logger
	Reopen     func() // of the master's own logs
	Stdout     io.Writer
	Stderr     io.Writer
	Started    func(info Started) // called once the first worker serves
}

// Started is what there is to tell when the server serves.
type Started struct {
	Routes []Route
	Addrs  map[string]string // of the sockets and the manager, by name
	Notes  []string
}

// Master starts and replaces workers. It implements manager.Backend.
type Master struct {
	cfg   MasterConfig
	files []*os.File // the listeners, for children
	addrs map[string]string
	begun time.Time

	mu        sync.Mutex
	worker    *child // the one that serves; nil while there is none
	restarts  int
	reloading bool
	stopping  bool
	grace     time.Duration

	stop chan struct{} // closed when the server is to end
}

var _ manager.Backend = (*Master)(nil)

// New makes a Master; Run starts it.
func New(cfg MasterConfig) *Master {
	if cfg.ReadyTime == 0 {
		cfg.ReadyTime = 30 * time.Second
	}
	return &Master{cfg: cfg, addrs: map[string]string{}, begun: time.Now(), stop: make(chan struct{}), grace: cfg.StopGrace}
}

// Run serves until ctx ends or Stop is called, then ends the worker. The pid file is written when the server serves.
func (m *Master) Run(ctx context.Context) error {
	cfg := &m.cfg
	if err := os.MkdirAll(cfg.RuntimeDir, 0o755); err != nil {
		return fmt.Errorf("the runtime directory cannot be made: %w", err)
	}
	held, err := lock(cfg.RuntimeDir)
	if err != nil {
		return err
	}
	defer held.Close()
	defer func() {
		for _, f := range m.files {
			_ = f.Close()
		}
	}()
	for _, s := range cfg.Sockets {
		ln, err := open(s)
		if err != nil {
			return err
		}
		m.addrs[s.Name] = ln.Addr().String()
		f, err := socketFile(ln)
		_ = ln.Close() // the file is a duplicate
		if err != nil {
			return fmt.Errorf("listen for %s: %w", s.Name, err)
		}
		m.files = append(m.files, f)
	}
	admin, err := open(cfg.Manager)
	if err != nil {
		return err
	}
	m.addrs[cfg.Manager.Name] = admin.Addr().String()

	first, err := m.start(ctx)
	if err != nil {
		return errors.Join(err, admin.Close())
	}
	m.setWorker(first)
	pidFile := PIDFile(cfg.RuntimeDir)
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return errors.Join(fmt.Errorf("write the pid file: %w", err), m.endWorker(), admin.Close())
	}
	defer os.Remove(pidFile)
	server := manager.NewServer(manager.Config{Backend: m, Token: cfg.Token, Log: cfg.Log})
	served := make(chan error, 1)
	go func() { served <- server.Serve(admin) }()
	if cfg.Started != nil {
		cfg.Started(Started{first.info.Routes, m.addrs, first.info.Notes})
	}
	supervised := make(chan struct{})
	go func() { defer close(supervised); m.supervise(first) }()
	select {
	case <-ctx.Done():
		m.Stop(context.Background(), true)
	case <-m.stop:
	}
	err = m.endWorker()
	<-supervised
	server.Close()
	return errors.Join(err, <-served)
}

// PIDFile is where a serving master's pid stands.
func PIDFile(runtimeDir string) string { return filepath.Join(runtimeDir, "wsframe.pid") }

// ReadPID reads the pid of the server that serves with that runtime directory.
func ReadPID(runtimeDir string) (int, error) {
	b, err := os.ReadFile(PIDFile(runtimeDir))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// open listens; MPTCP stays off because such sockets refuse TCP_USER_TIMEOUT.
func open(s Socket) (*net.TCPListener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
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
	return ln.(*net.TCPListener), nil
}

// start starts a worker and waits until it is ready.
func (m *Master) start(ctx context.Context, extra ...string) (*child, error) {
	names := make([]string, len(m.cfg.Sockets))
	for i, s := range m.cfg.Sockets {
		names[i] = s.Name
	}
	env := append(slices.Clone(m.cfg.Env), envRole+"=worker", envSockets+"="+strings.Join(names, ","))
	if m.cfg.Store.Addr != "" {
		env = append(env, envStore+"="+m.cfg.Store.Addr+" "+m.cfg.Store.Password)
	}
	c, err := m.spawn(append(env, extra...))
	if err != nil {
		return nil, err
	}
	return c, c.boot(ctx, m.cfg.ReadyTime)
}

func (m *Master) setWorker(c *child) {
	m.mu.Lock()
	m.worker = c
	m.mu.Unlock()
}

func (m *Master) current() (*child, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.worker == nil {
		return nil, errors.New("there is no worker at the moment; it is being restarted")
	}
	return m.worker, nil
}

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	healthy    = time.Minute // a worker that lived so long has a first try again
)

// supervise restarts a worker that ends by itself. The listeners stay open meanwhile: clients wait in the kernel's queue.
func (m *Master) supervise(c *child) {
	wait := minBackoff
	for {
		<-c.exited
		m.mu.Lock()
		if m.stopping {
			m.mu.Unlock()
			return
		}
		if m.worker != c { // replaced by a reload
			c = m.worker
			m.mu.Unlock()
			if c == nil {
				return
			}
			continue
		}
		m.worker = nil
		m.restarts++
		m.mu.Unlock()
		if time.Since(c.since) > healthy {
			wait = minBackoff
		}
		m.cfg.Log.Error("the worker has ended; it is restarted", zap.Int("pid", c.pid), zap.String("status", c.status), zap.Duration("in", wait))
		for {
			select {
			case <-m.stop:
				return
			case <-time.After(wait):
			}
			wait = min(2*wait, maxBackoff)
			ctx, cancel := context.WithCancel(context.Background())
			go func() {
				select {
				case <-m.stop:
					cancel()
				case <-ctx.Done():
				}
			}()
			next, err := m.start(ctx)
			cancel()
			if err == nil {
				c = next
				break
			}
			m.cfg.Log.Error("the worker does not boot", zap.Error(err), zap.Duration("next_try", wait))
		}
		m.mu.Lock()
		m.worker = c
		stopping := m.stopping
		m.mu.Unlock()
		if stopping {
			c.kill()
			<-c.exited
			return
		}
		m.cfg.Log.Info("the worker is back", zap.Int("pid", c.pid))
	}
}

// endWorker stops the worker that serves and waits for its end, at most for the grace time and a little.
func (m *Master) endWorker() error {
	m.mu.Lock()
	c, grace := m.worker, m.grace
	m.mu.Unlock()
	if c == nil {
		return nil
	}
	return m.end(c, stopRequest{Code: 1001, Reason: "server is going away", Spread: grace / 2, Grace: grace})
}

const killAfter = 5 * time.Second // beyond the grace time

func (m *Master) end(c *child, s stopRequest) error {
	_, err := m.endCounted(c, s)
	return err
}

func (m *Master) endCounted(c *child, s stopRequest) (n int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.Grace+killAfter)
	defer cancel()
	err = c.peer.call(ctx, "stop", s, &n)
	select {
	case <-c.exited:
		if errors.Is(err, errPeerGone) {
			err = fmt.Errorf("the worker ended before it had stopped (%s)", c.status)
		}
	case <-ctx.Done():
		c.kill()
		<-c.exited
		err = errors.Join(err, fmt.Errorf("the worker did not end in %v and was killed", s.Grace+killAfter))
	}
	return n, err
}

// Stop ends the server; it returns at once. A second call has no more patience: what is left is cut.
func (m *Master) Stop(_ context.Context, graceful bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopping {
		if m.worker != nil {
			m.worker.kill()
		}
		return nil
	}
	m.stopping = true
	if !graceful {
		m.grace = min(m.grace, 2*time.Second)
	}
	close(m.stop)
	return nil
}

// Status implements manager.Backend.
func (m *Master) Status(ctx context.Context) (manager.Status, error) {
	m.mu.Lock()
	s := manager.Status{
		Version: m.cfg.Version, MasterPID: os.Getpid(), WorkerRestarts: m.restarts, Store: m.cfg.StoreKind,
		UptimeSeconds: int64(time.Since(m.begun).Seconds()), MemoryBytes: residentBytes(os.Getpid()),
	}
	c := m.worker
	m.mu.Unlock()
	if c == nil {
		return s, nil
	}
	var w Stats
	if err := c.peer.call(ctx, "stats", nil, &w); err != nil {
		return s, fmt.Errorf("ask the worker: %w", err)
	}
	s.WorkerPID, s.MemoryBytes = c.pid, s.MemoryBytes+residentBytes(c.pid)
	s.Connections, s.Rooms, s.Goroutines, s.StorePending = w.Connections, w.Rooms, w.Goroutines, w.StorePending
	s.MessagesIn, s.MessagesOut, s.BytesIn, s.BytesOut = w.MessagesIn, w.MessagesOut, w.BytesIn, w.BytesOut
	s.ClosedSlow, s.ClosedIdle = w.Slow, w.Idle
	return s, nil
}

// Say implements manager.Backend.
func (m *Master) Say(ctx context.Context, text string) (n int, err error) {
	c, err := m.current()
	if err != nil {
		return 0, err
	}
	return n, c.peer.call(ctx, "say", text, &n)
}

// Connections implements manager.Backend.
func (m *Master) Connections(ctx context.Context, offset, limit int) (list []manager.ConnInfo, err error) {
	c, err := m.current()
	if err != nil {
		return nil, err
	}
	return list, c.peer.call(ctx, "connections", pageRequest{offset, limit}, &list)
}

// ReopenLogs has both processes open their log files anew.
func (m *Master) ReopenLogs() {
	m.cfg.Reopen()
	if c, err := m.current(); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.peer.call(ctx, "reopen", nil, nil); err != nil {
			m.cfg.Log.Warn("reopen the worker's log", zap.Error(err))
		}
	}
}
