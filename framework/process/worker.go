package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"wsframe/framework/internal/contract"
	"wsframe/framework/manager"
)

// The environment variables that the master sets for its worker.
const (
	envRole    = "WSFRAME_ROLE"    // worker
	envSockets = "WSFRAME_SOCKETS" // names of the inherited listeners, from descriptor 4 on
	envReload  = "WSFRAME_RELOAD"  // another worker still serves
	envCheck   = "WSFRAME_CHECK"   // boot, report, end
	envStore   = "WSFRAME_STORE"   // address and password of the embedded store
	envBegun   = "WSFRAME_BEGUN"   // UNIX seconds: when the master was started
	envRuntime = "WSFRAME_RUNTIME" // the master's runtime directory
	envFiles   = "WSFRAME_FILES"   // of the configuration that the previous worker has read, with commas
	envDetach  = "WSFRAME_DETACH"  // nobody reads what is printed once the server serves
)

// Stats is what a worker counts.
type Stats struct {
	Connections, Rooms      int
	UIDs                    int
	Dropped                 int64
	MessagesIn, MessagesOut int64
	BytesIn, BytesOut       int64
	Slow, Idle              int64
	Goroutines              int
	StorePending            int
	Gateway                 *manager.Gateway // nil = it is not enabled
}

// add adds the totals of a worker that has handed its connections over.
func (s *Stats) add(before Stats) {
	s.Dropped += before.Dropped
	s.MessagesIn += before.MessagesIn
	s.MessagesOut += before.MessagesOut
	s.BytesIn += before.BytesIn
	s.BytesOut += before.BytesOut
	s.Slow += before.Slow
	s.Idle += before.Idle
}

// Ready is the report of a worker that has booted.
type Ready struct {
	Version  string // of the program; "" = the master's
	Routes   []Route
	Contract *contract.Contract `json:",omitempty"` // what clients rely on; nil = unknown
	Notes    []string
	Transfer Versions // zero = its connections cannot be moved
	Files    []string // of the configuration that it has read, by name; nil = unknown
	KeyFile  string   // with the key of its tokens; "" = the configuration has it
}

// Versions are those of the transfer format (hub.TransferVersion).
type Versions struct {
	Writes int   // the one that this worker writes; 0 = none
	Reads  []int // those that it can read
}

// Route is one line of the route table.
type Route struct{ Method, Controller, Pace string }

// Handler is a worker's application as the master sees it.
type Handler interface {
	Stats() Stats
	Say(text string) int
	Connections(offset, limit int) []manager.ConnInfo
	// Nodes lists the nodes of the cluster. Known nodes are returned beside an error as well.
	Nodes(ctx context.Context) ([]manager.NodeInfo, error)
	// Reloading is called in the old worker before the new one takes over.
	Reloading(ctx context.Context) error
	// Start is called in the new worker of a reload before the old one hands over. From now on the
	// application's own work, like its timers, is done here. After an error the old worker
	// continues.
	Start() error
	// Stop ends accepting and closes all connections with the code, spread over the time. It
	// returns how many there were.
	Stop(ctx context.Context, code int, reason string, spread time.Duration) (int, error)
	// Accept is called in the new worker of a reload when no connections are moved to it. It begins
	// to accept.
	Accept()
	// Settled is called in the new worker when the old one has ended.
	Settled()
	ReopenLogs()
}

// Transferrer is a Handler whose live connections can be moved to another worker. Transfer and
// Adopt run at the same time, each in its worker, and ctx bounds them. Their peers are the two ends
// of a Unix stream socket pair, which they close. A broken pair means that the other worker has
// ended.
type Transferrer interface {
	// Pause is called in the old worker before Transfer. From now on clients wait in the kernel's
	// queue and need no descriptors, which the move needs. Transfer or Resume follows.
	Pause()
	Resume()
	// Transfer is called in the old worker. It calls handed as soon as the other worker has the
	// connections, and then waits for the last actions. After an error nothing has moved, and the
	// worker continues to serve and to accept.
	Transfer(ctx context.Context, peer *os.File, handed func(moved int)) (TransferReport, error)
	// Adopt is called in the new worker. It calls serving as soon as it has the connections, before
	// it accepts others. After an error it has none, and does not accept.
	Adopt(ctx context.Context, peer *os.File, serving func()) (TransferReport, error)
}

// TransferReport is the report of one side of a transfer.
type TransferReport struct {
	Moved int           // connections that the new worker serves
	Pause time.Duration // the longest time in which a connection was not served
	Notes []string      // for people

	Streams     int           // whose producers go on in the old worker
	StreamDrain time.Duration // for which they may
}

// transferReply has the report beside the error.
type transferReply struct {
	Report TransferReport
	Error  string
}

// Worker is the connection of a worker to its master.
type Worker struct {
	Reload bool // another worker of this server still serves
	Check  bool // boot and report, but do not serve
	Store  Store
	Begun  time.Time // when the master was started

	RuntimeDir string   // the master's, absolute
	Files      []string // of the configuration, by name, that must exist
	Detached   bool     // nobody reads what is printed once the worker serves

	sockets map[string]net.Listener
	peer    *peer
	serving chan struct{} // closed when handler is set
	handler Handler
	once    sync.Once
	stopped chan struct{} // closed when the reply to the master's stop is written
	end     ending
	term    chan os.Signal // SIGTERM
	spare   spare
}

// Store is the address of the embedded store. Addr is "" where workers use a Redis that they reach
// themselves.
type Store struct {
	Addr, Password string
	Notes          []string // for people, at the start; of the master's
	Close          func()   // ends it; of the master's
}

// FromEnv reports whether this process is a worker, and takes over what it has inherited. A worker
// also calls log.Guard: it must close its connections even after the end of the master, which reads
// its output.
func FromEnv() (*Worker, bool, error) {
	if os.Getenv(envRole) != "worker" {
		return nil, false, nil
	}
	w := newWorker(os.Getenv(envReload) != "", os.Getenv(envCheck) != "")
	w.Store.Addr, w.Store.Password, _ = strings.Cut(os.Getenv(envStore), " ")
	if at, err := strconv.ParseInt(os.Getenv(envBegun), 10, 64); err == nil {
		w.Begun = time.Unix(at, 0)
	}
	w.Files = strings.FieldsFunc(os.Getenv(envFiles), func(r rune) bool { return r == ',' })
	w.RuntimeDir, w.Detached = os.Getenv(envRuntime), os.Getenv(envDetach) != ""
	conn, err := inheritConn(3)
	if err != nil {
		return nil, true, fmt.Errorf("inherit the control channel: %w", err)
	}
	if names := os.Getenv(envSockets); names != "" {
		for i, name := range strings.Split(names, ",") {
			if w.sockets[name], err = inheritListener(4 + i); err != nil {
				return nil, true, fmt.Errorf("inherit the listener %s: %w", name, err)
			}
		}
	}
	// The processes that the worker starts are no workers.
	for _, name := range []string{envRole, envSockets, envReload, envCheck, envStore, envBegun, envRuntime, envFiles, envDetach} {
		_ = os.Unsetenv(name)
	}
	w.peer = newPeer(conn, w.handle)
	signal.Notify(w.term, syscall.SIGTERM)
	go w.watchBoot()
	return w, true, nil
}

// watchBoot ends a worker whose master ends before it serves, or that gets SIGTERM. It holds the
// listeners, on which nobody would answer.
func (w *Worker) watchBoot() {
	select {
	case <-w.serving:
	case <-w.peer.gone:
		os.Exit(1)
	case s := <-w.term:
		select {
		case <-w.serving: // since this moment: Serve handles it
			w.term <- s
		default:
			os.Exit(1)
		}
	}
}

func newWorker(reload, check bool) *Worker {
	return &Worker{Reload: reload, Check: check, term: make(chan os.Signal, 1), sockets: map[string]net.Listener{}, serving: make(chan struct{}), stopped: make(chan struct{})}
}

// Listener returns an inherited listener, or nil.
func (w *Worker) Listener(name string) net.Listener { return w.sockets[name] }

// Fail reports why this worker cannot boot. As a rule it does not return: the master ends the
// worker.
func (w *Worker) Fail(err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = w.peer.call(ctx, "failed", err.Error(), nil) // the exit code says the same
}

// Report reports what this worker would serve, at the end of a check. The worker then has a few
// seconds to end.
func (w *Worker) Report(ctx context.Context, ready Ready) error {
	return w.peer.call(ctx, "ready", ready, nil)
}

// orphanTime is the grace time of a worker whose embedded store has ended with the master: the
// store will not return.
const orphanTime = 3 * time.Second

// Serve reports that h is ready and handles the requests of the master. It ends when the master
// asks for it, at SIGTERM, or when the master is gone: then h is stopped with 1001.
func (w *Worker) Serve(ctx context.Context, ready Ready, h Handler, grace time.Duration) error {
	w.handler = h
	w.spare.fill(spareFiles)
	defer w.spare.free()
	close(w.serving)
	if err := w.peer.call(ctx, "ready", ready, nil); err != nil {
		return fmt.Errorf("tell the master that the worker is ready: %w", err)
	}
	select {
	case <-w.stopped:
		w.peer.close()
		return nil
	case <-w.term:
		signal.Stop(w.term) // a second one ends it at once
		time.AfterFunc(grace+killAfter, func() { os.Exit(1) })
		_, err := w.stop(ctx, stopRequest{Code: 1001, Reason: "server is going away", Spread: grace / 2, Grace: grace})
		return err
	case <-w.peer.gone:
	}
	select {
	case <-w.stopped:
		return nil
	default:
	}
	if w.Store.Addr != "" {
		grace = min(grace, orphanTime)
	}
	// Nobody else would kill a worker that cannot end, and it holds the port.
	time.AfterFunc(grace+killAfter, func() { os.Exit(1) })
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if _, err := w.stop(ctx, stopRequest{Code: 1001, Reason: "server is going away", Grace: grace}); err != nil {
		return fmt.Errorf("the master is gone; stop: %w", err)
	}
	return fmt.Errorf("stopped: %w", errPeerGone)
}

// stopRequest is the body of the request to stop.
type stopRequest struct {
	Code   int
	Reason string
	Spread time.Duration
	Grace  time.Duration
}

// ending is a worker's only stop: the master and a signal may ask for it at the same time.
type ending struct {
	once sync.Once
	cut  context.CancelFunc
	done chan struct{}
	n    int
	err  error
}

// stop has the handler stop, or waits for the stop that has begun, at most for the shorter of both
// grace times. It does not depend on the context of the request.
func (w *Worker) stop(ctx context.Context, s stopRequest) (int, error) {
	e := &w.end
	e.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Grace)
		e.cut, e.done = cancel, make(chan struct{})
		go func() {
			defer cancel()
			defer close(e.done)
			e.n, e.err = w.handler.Stop(ctx, s.Code, s.Reason, s.Spread)
		}()
	})
	timer := time.AfterFunc(s.Grace, e.cut)
	defer timer.Stop()
	<-e.done
	return e.n, e.err
}

// nodesReply has the known nodes beside the error.
type nodesReply struct {
	Nodes []manager.NodeInfo
	Error string
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

type pageRequest struct{ Offset, Limit int }

func (w *Worker) handle(ctx context.Context, r request) (any, error) {
	handed := r.kind == "transfer" || r.kind == "adopt" // the files are the handler's
	if !handed {
		closeFiles(r.files)
	}
	select {
	case <-w.serving:
	case <-ctx.Done():
		closeFiles(r.files)
		return nil, ctx.Err()
	}
	h := w.handler
	switch r.kind {
	case "hello":
		return nil, nil
	case "stats":
		return h.Stats(), nil
	case "say":
		var text string
		if err := r.decode(&text); err != nil {
			return nil, err
		}
		return h.Say(text), nil
	case "connections":
		var p pageRequest
		if err := r.decode(&p); err != nil {
			return nil, err
		}
		return h.Connections(p.Offset, p.Limit), nil
	case "nodes":
		list, err := h.Nodes(ctx)
		return nodesReply{list, textOf(err)}, nil
	case "reloading":
		return nil, h.Reloading(ctx)
	case "pause", "transfer", "adopt":
		return w.transfer(ctx, h, r)
	case "start":
		return nil, h.Start()
	case "accept":
		h.Accept()
		return nil, nil
	case "settled":
		h.Settled()
		w.spare.fill(spareFiles)
		return nil, nil
	case "reopen":
		h.ReopenLogs()
		return nil, nil
	case "stop":
		var s stopRequest
		if err := r.decode(&s); err != nil {
			return nil, err
		}
		n, err := w.stop(ctx, s)
		return lastWord{n, func() { w.once.Do(func() { close(w.stopped) }) }}, err
	}
	return nil, fmt.Errorf("unknown request %q", r.kind)
}

var errNoFile = errors.New("no descriptor came along: has this process a free one?")

// transfer performs this worker's part of a move.
func (w *Worker) transfer(ctx context.Context, h Handler, r request) (any, error) {
	t, ok := h.(Transferrer)
	if !ok {
		closeFiles(r.files)
		return nil, fmt.Errorf("%s: this worker cannot do that", r.kind)
	}
	if r.kind == "pause" {
		t.Pause()
		w.spare.free() // after Pause: new clients would use them up
		return nil, nil
	}
	var report TransferReport
	err := errNoFile
	switch {
	case r.kind == "adopt" && len(r.files) == 1:
		w.spare.free()
		report, err = t.Adopt(ctx, r.files[0], func() {
			w.spare.fill(fewFiles) // before others are accepted
			w.tell("serving", nil)
		})
	case len(r.files) == 1:
		report, err = t.Transfer(ctx, r.files[0], func(moved int) { w.tell("handed", handOver{moved, h.Stats()}) })
	case r.kind == "transfer":
		t.Resume()
	}
	if err != nil {
		w.spare.fill(spareFiles)
	}
	return transferReply{report, textOf(err)}, nil
}

// tell sends a message that has no reply. If it is lost, the reply to the current request says the
// same.
func (w *Worker) tell(kind string, in any) { _ = w.peer.note(kind, in) }
