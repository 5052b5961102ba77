package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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
	"wsframe/library/socket"
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
	// OpenStore opens the embedded store; nil: workers have a Redis of their own. It is called when the runtime
	// directory is this master's, so a second server does not touch the running one's file.
	OpenStore func(ctx context.Context) (Store, error)
	StoreKind string // embedded or redis
	Version   string
	ReadyTime time.Duration // for a worker to boot; 30 s
	StopGrace time.Duration
	DrainTime time.Duration // the old worker's time to end at a reload
	HangTime  time.Duration // a worker that does not answer for so long is killed; 0: never
	Files     []string      // of the configuration: those that the server was started with, and no worker may miss
	Detached  bool          // nobody reads what is printed once the server serves
	Log       *zap.Logger
	Reopen    func() // of the master's own logs
	Stdout    io.Writer
	Stderr    io.Writer
	Started   func(info Started) // called once the first worker serves
	Reloaded  func()             // after each reload that replaced the worker: the configuration may be another one
	// Notify is told Serving when the first worker serves, Reloading and Serving around reloads, and Stopping as soon as the server
	// is to end; one after the other. It must not wait for long.
	Notify func(State)
	Alive  func() // called every second while the worker that serves answers, or another one is being started
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
	dir   string     // where workers run
	files []*os.File // the listeners, for children
	addrs map[string]string
	store Store
	begun time.Time

	life    context.Context // ends when the server is to end
	endLife context.CancelFunc
	reloads sync.WaitGroup

	// Held while a state changes and is told, so that states are told in order. Taken before mu.
	sayMu    sync.Mutex
	served   bool // Serving was told
	final    bool // Stopping was told
	promised bool // Reloading was told, and Serving not since

	// Held from the moment a reload can no longer be given up until it has decided which worker serves. Taken before mu.
	handover sync.Mutex

	// Held while a worker is started, until it is in live. Taken before mu.
	spawning sync.Mutex

	mu        sync.Mutex
	worker    *child              // the one that serves; nil while there is none
	config    []string            // files of the configuration that the last one to serve has read
	changed   chan struct{}       // closed when worker changes
	live      map[*child]struct{} // every worker process
	restarts  int
	totals    Stats         // of the workers that have handed their connections over
	reloading chan struct{} // closed at the end of the reload that runs; nil while none does
	stopping  bool
	grace     time.Duration
}

var _ manager.Backend = (*Master)(nil)

// New makes a Master; Run starts it.
func New(cfg MasterConfig) *Master {
	if cfg.ReadyTime == 0 {
		cfg.ReadyTime = 30 * time.Second
	}
	if cfg.StopGrace == 0 {
		cfg.StopGrace = 30 * time.Second
	}
	if cfg.DrainTime == 0 {
		cfg.DrainTime = 30 * time.Second
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = "" // workers inherit it
	}
	life, endLife := context.WithCancel(context.Background())
	return &Master{
		cfg: cfg, dir: dir, addrs: map[string]string{}, begun: time.Now(), life: life, endLife: endLife,
		changed: make(chan struct{}), live: map[*child]struct{}{}, grace: cfg.StopGrace, config: cfg.Files,
	}
}

// Run serves until ctx ends or Stop is called, then ends the worker. A stop before the first worker is ready is no error. The pid file is written when the server serves.
func (m *Master) Run(ctx context.Context) error {
	cfg := &m.cfg
	defer m.endLife()
	if err := os.MkdirAll(cfg.RuntimeDir, 0o700); err != nil {
		return fmt.Errorf("the runtime directory cannot be made: %w", err)
	}
	defer reapOrphans(m)()
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
	if err := m.writeLocation(); err != nil {
		return errors.Join(err, admin.Close())
	}
	defer os.Remove(locationFile(cfg.RuntimeDir))

	boot, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()
	if cfg.OpenStore != nil {
		if m.store, err = cfg.OpenStore(boot); err != nil {
			return errors.Join(err, admin.Close())
		}
		defer m.store.Close()
	}
	first, err := m.start(boot)
	if err != nil {
		if boot.Err() != nil {
			err = nil
		}
		return errors.Join(err, admin.Close())
	}
	m.mu.Lock()
	m.setWorker(first)
	m.mu.Unlock()
	pidFile := PIDFile(cfg.RuntimeDir)
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return errors.Join(fmt.Errorf("write the pid file: %w", err), m.endWorker(), admin.Close())
	}
	defer os.Remove(pidFile)
	server := manager.NewServer(manager.Config{Backend: m, Token: cfg.Token, Log: cfg.Log})
	served := make(chan error, 1)
	go func() { served <- server.Serve(admin) }()
	if cfg.Started != nil {
		cfg.Started(Started{first.info.Routes, m.addrs, append(m.store.Notes, first.info.Notes...)})
	}
	m.sayMu.Lock()
	m.say(Serving)
	m.sayMu.Unlock()
	supervised, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(supervised); m.supervise() }()
	watched := make(chan struct{})
	go func() { defer close(watched); m.watch(done) }()
	select {
	case <-ctx.Done():
		m.beginStop(true)
	case <-m.life.Done():
	}
	err = m.endWorker()
	m.reloads.Wait() // the old worker of a reload may still be saying goodbye
	<-supervised
	close(done)
	<-watched
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

// open listens, and names the setting where that fails.
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

// start starts a worker and waits until it is ready.
func (m *Master) start(ctx context.Context, extra ...string) (*child, error) {
	names := make([]string, len(m.cfg.Sockets))
	for i, s := range m.cfg.Sockets {
		names[i] = s.Name
	}
	runtimeDir, err := filepath.Abs(m.cfg.RuntimeDir)
	if err != nil {
		return nil, fmt.Errorf("find the runtime directory: %w", err)
	}
	m.mu.Lock()
	files := m.config
	m.mu.Unlock()
	env := append(slices.Clone(m.cfg.Env), envFiles+"="+strings.Join(files, ","), envRuntime+"="+runtimeDir, envRole+"=worker", envSockets+"="+strings.Join(names, ","), envBegun+"="+strconv.FormatInt(m.begun.Unix(), 10))
	if m.store.Addr != "" {
		env = append(env, envStore+"="+m.store.Addr+" "+m.store.Password)
	}
	if m.cfg.Detached {
		env = append(env, envDetach+"=1")
	}
	c, err := m.spawn(append(env, extra...))
	if err != nil {
		return nil, err
	}
	return c, c.boot(ctx, m.cfg.ReadyTime)
}

// setWorker says which worker serves. The caller holds mu.
func (m *Master) setWorker(c *child) {
	m.worker = c
	if c != nil && c.info.Files != nil {
		m.config = c.info.Files
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Master) track(c *child) {
	m.mu.Lock()
	m.live[c] = struct{}{}
	m.mu.Unlock()
}

func (m *Master) untrack(c *child) {
	m.mu.Lock()
	delete(m.live, c)
	m.mu.Unlock()
}

func (m *Master) current() (*child, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.worker == nil {
		return nil, errNoWorker
	}
	return m.worker, nil
}

// endWorker stops the worker that serves and waits for its end, at most for the grace time and a little.
func (m *Master) endWorker() error {
	m.handover.Lock()
	m.mu.Lock()
	c, grace := m.worker, m.grace
	m.mu.Unlock()
	m.handover.Unlock()
	if c == nil {
		return nil
	}
	return m.end(c, stopRequest{Code: 1001, Reason: "server is going away", Spread: grace / 2, Grace: grace})
}

const killAfter = 5 * time.Second // beyond the grace time

// end has a worker stop and waits for its end, at most for the grace time and a little.
func (m *Master) end(c *child, s stopRequest) error {
	_, err := m.endCounted(c, s)
	return err
}

// endCounted also tells how many connections the worker still had.
func (m *Master) endCounted(c *child, s stopRequest) (n int, err error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), s.Grace+killAfter)
	defer cancel()
	// A stop of the server has less patience with the old worker of a reload.
	defer context.AfterFunc(m.life, func() { time.AfterFunc(m.patience(), cancel) })()
	_, hang := c.pulse.state()
	go func() {
		select {
		case <-hang: // what it would do in its grace time it cannot
			time.AfterFunc(killAfter, cancel)
		case <-ctx.Done():
		}
	}()
	err = c.peer.call(ctx, "stop", s, &n)
	select {
	case <-c.exited:
		switch {
		case errors.Is(err, errPeerGone) && c.clean: // it was stopping by itself
			err = nil
		case errors.Is(err, errPeerGone):
			err = fmt.Errorf("the worker ended before it had stopped (%s)", c.status)
		}
	case <-ctx.Done():
		c.kill()
		<-c.exited
		err = fmt.Errorf("the worker did not end in %v and was killed", time.Since(begun).Round(100*time.Millisecond))
	}
	return n, err
}

// patience is how long a stop waits for a worker.
func (m *Master) patience() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.grace + killAfter
}

// Stop ends the server; it returns at once. A second call has no more patience: what is left is cut.
func (m *Master) Stop(_ context.Context, graceful bool) error {
	if m.beginStop(graceful) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.live {
		c.kill()
	}
	return nil
}

// beginStop reports whether this was the first wish to stop.
func (m *Master) beginStop(graceful bool) bool {
	m.sayMu.Lock()
	defer m.sayMu.Unlock()
	m.mu.Lock()
	first := !m.stopping
	if first {
		m.stopping = true
		if !graceful {
			m.grace = min(m.grace, 2*time.Second)
		}
		m.endLife()
	}
	m.mu.Unlock()
	if first {
		m.say(Stopping)
	}
	return first
}

// Status implements manager.Backend.
func (m *Master) Status(ctx context.Context) (manager.Status, error) {
	m.mu.Lock()
	s := manager.Status{
		Version: m.cfg.Version, MasterVersion: m.cfg.Version, MasterPID: os.Getpid(), WorkerRestarts: m.restarts, Store: m.cfg.StoreKind,
		RuntimeDir:    absolute(m.cfg.RuntimeDir),
		UptimeSeconds: int64(time.Since(m.begun).Seconds()), MemoryBytes: residentBytes(os.Getpid()),
	}
	c, before := m.worker, m.totals
	m.mu.Unlock()
	s.WorkerState = manager.WorkerRestarts
	if c == nil {
		return s, nil
	}
	s.KeyFile = c.info.KeyFile
	var w Stats
	var hung *hangError
	switch err := c.ask(ctx, "stats", nil, &w); {
	case errors.Is(err, errPeerGone):
		return s, nil // as above, a moment earlier
	case errors.As(err, &hung):
		s.WorkerState, s.WorkerPID, s.WorkerSilentSeconds, s.NodesError = manager.WorkerHangs, c.pid, int64(hung.silent.Seconds()), hung.Error()
		return s, nil
	case err != nil:
		return s, fmt.Errorf("ask the worker: %w", err)
	}
	s.WorkerState, s.WorkerPID, s.MemoryBytes = manager.WorkerServes, c.pid, s.MemoryBytes+residentBytes(c.pid)
	w.add(before)
	s.Connections, s.Rooms, s.Goroutines, s.StorePending = w.Connections, w.Rooms, w.Goroutines, w.StorePending
	s.MessagesIn, s.MessagesOut, s.BytesIn, s.BytesOut = w.MessagesIn, w.MessagesOut, w.BytesIn, w.BytesOut
	s.ClosedSlow, s.ClosedIdle, s.Dropped, s.UIDs = w.Slow, w.Idle, w.Dropped, w.UIDs
	s.Version = cmp.Or(c.info.Version, s.Version)
	ctx, cancel := context.WithTimeout(ctx, nodesTime)
	defer cancel()
	var err error
	if s.Nodes, err = c.nodes(ctx); err != nil { // the store is away: all else is as true as before
		s.NodesError = err.Error()
	}
	return s, nil
}

func absolute(dir string) string {
	if path, err := filepath.Abs(dir); err == nil {
		return path
	}
	return dir
}

// count keeps what has ended in a worker whose connections are another one's.
func (m *Master) count(s Stats) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.totals.add(s)
}

// nodesTime is what a status waits for the store.
const nodesTime = 2 * time.Second

// Nodes implements manager.Backend.
func (m *Master) Nodes(ctx context.Context) ([]manager.NodeInfo, error) {
	c, err := m.current()
	if err != nil {
		return nil, err
	}
	list, err := c.nodes(ctx)
	return list, gone(err)
}

// Say implements manager.Backend.
func (m *Master) Say(ctx context.Context, text string) (n int, err error) {
	c, err := m.current()
	if err != nil {
		return 0, err
	}
	return n, gone(c.ask(ctx, "say", text, &n))
}

// Connections implements manager.Backend.
func (m *Master) Connections(ctx context.Context, offset, limit int) (list []manager.ConnInfo, err error) {
	c, err := m.current()
	if err != nil {
		return nil, err
	}
	return list, gone(c.ask(ctx, "connections", pageRequest{offset, limit}, &list))
}

// gone says it in words for people.
func gone(err error) error {
	if errors.Is(err, errPeerGone) {
		return errNoWorker
	}
	return err
}

// ReopenLogs has all processes open their log files anew.
func (m *Master) ReopenLogs() {
	m.cfg.Reopen()
	m.mu.Lock()
	workers := slices.Collect(maps.Keys(m.live)) // two during a reload
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var asked sync.WaitGroup
	for _, c := range workers {
		asked.Go(func() {
			if err := c.ask(ctx, "reopen", nil, nil); err != nil && !errors.Is(err, errPeerGone) {
				m.cfg.Log.Warn("reopen a worker's log", zap.Int("pid", c.pid), zap.Error(err))
			}
		})
	}
	asked.Wait()
}
