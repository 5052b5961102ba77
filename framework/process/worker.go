package process

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"wsframe/framework/manager"
)

// What the master tells its worker by the environment.
const (
	envRole    = "WSFRAME_ROLE"    // worker
	envSockets = "WSFRAME_SOCKETS" // names of the inherited listeners, from descriptor 4 on
	envReload  = "WSFRAME_RELOAD"  // another worker still serves
	envCheck   = "WSFRAME_CHECK"   // boot, report, end
	envStore   = "WSFRAME_STORE"   // address and password of the embedded store
)

// Stats is what a worker counts.
type Stats struct {
	Connections, Rooms      int
	MessagesIn, MessagesOut int64
	BytesIn, BytesOut       int64
	Slow, Idle              int64
	Goroutines              int
	StorePending            int
}

// Ready is what a booted worker tells its master.
type Ready struct {
	Routes []Route
	Notes  []string
}

// Route is one line of the route table.
type Route struct{ Method, Controller string }

// Handler is a worker's application as the master sees it.
type Handler interface {
	Stats() Stats
	Say(text string) int
	Connections(offset, limit int) []manager.ConnInfo
	// Reloading is told in the old worker before the new one takes over.
	Reloading(ctx context.Context) error
	// Stop ends accepting and closes all connections with the code, spread over the time; it returns how many there were.
	Stop(ctx context.Context, code int, reason string, spread time.Duration) (int, error)
	// Settled is told in the new worker when the old one has ended.
	Settled()
	ReopenLogs()
}

// Worker is the worker's side of its master.
type Worker struct {
	Reload bool // another worker of this server still serves
	Check  bool // boot and report, but do not serve
	Store  Store

	sockets map[string]net.Listener
	peer    *peer
	handler chan Handler
	stopped chan struct{}
}

// Store is where the embedded store listens; Addr is "" where a Redis of one's own is used.
type Store struct{ Addr, Password string }

// FromEnv tells whether this process is a worker, and takes over what it inherited.
func FromEnv() (*Worker, bool, error) {
	if os.Getenv(envRole) != "worker" {
		return nil, false, nil
	}
	w := newWorker(os.Getenv(envReload) != "", os.Getenv(envCheck) != "")
	w.Store.Addr, w.Store.Password, _ = strings.Cut(os.Getenv(envStore), " ")
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
	// What the worker starts is no worker.
	for _, name := range []string{envRole, envSockets, envReload, envCheck, envStore} {
		_ = os.Unsetenv(name)
	}
	w.peer = newPeer(conn, w.handle)
	return w, true, nil
}

func newWorker(reload, check bool) *Worker {
	return &Worker{Reload: reload, Check: check, sockets: map[string]net.Listener{}, handler: make(chan Handler, 1), stopped: make(chan struct{})}
}

// Listener is an inherited listener.
func (w *Worker) Listener(name string) net.Listener { return w.sockets[name] }

// Fail tells the master why this worker cannot boot.
func (w *Worker) Fail(err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = w.peer.call(ctx, "failed", err.Error(), nil) // the exit code says it too
}

// Report tells the master what this worker would serve, without serving: the end of a check.
func (w *Worker) Report(ctx context.Context, ready Ready) error {
	return w.peer.call(ctx, "ready", ready, nil)
}

// Serve tells the master that h is ready and answers its requests until it asks to stop, or is gone: then h is stopped
// with 1001.
func (w *Worker) Serve(ctx context.Context, ready Ready, h Handler, grace time.Duration) error {
	w.handler <- h
	if err := w.peer.call(ctx, "ready", ready, nil); err != nil {
		return fmt.Errorf("tell the master that the worker is ready: %w", err)
	}
	select {
	case <-w.stopped:
		w.peer.close()
		return nil
	case <-w.peer.gone:
	}
	select {
	case <-w.stopped:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if _, err := h.Stop(ctx, 1001, "server is going away", 0); err != nil {
		return fmt.Errorf("the master is gone; stop: %w", err)
	}
	return fmt.Errorf("stopped: %w", errPeerGone)
}

// stopRequest is how the master ends a worker.
type stopRequest struct {
	Code   int
	Reason string
	Spread time.Duration
	Grace  time.Duration
}

type pageRequest struct{ Offset, Limit int }

func (w *Worker) handle(ctx context.Context, kind string, body json.RawMessage) (any, error) {
	var h Handler
	select {
	case h = <-w.handler:
		w.handler <- h
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	decode := func(v any) error {
		if err := json.Unmarshal(body, v); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		return nil
	}
	switch kind {
	case "stats":
		return h.Stats(), nil
	case "say":
		var text string
		if err := decode(&text); err != nil {
			return nil, err
		}
		return h.Say(text), nil
	case "connections":
		var p pageRequest
		if err := decode(&p); err != nil {
			return nil, err
		}
		return h.Connections(p.Offset, p.Limit), nil
	case "reloading":
		return nil, h.Reloading(ctx)
	case "settled":
		h.Settled()
		return nil, nil
	case "reopen":
		h.ReopenLogs()
		return nil, nil
	case "stop":
		var s stopRequest
		if err := decode(&s); err != nil {
			return nil, err
		}
		// Its end must not depend on the master's patience.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Grace)
		defer cancel()
		n, err := h.Stop(ctx, s.Code, s.Reason, s.Spread)
		// The answer goes out before the process ends.
		time.AfterFunc(50*time.Millisecond, func() { close(w.stopped) })
		return n, err
	}
	return nil, fmt.Errorf("unknown request %q", kind)
}
