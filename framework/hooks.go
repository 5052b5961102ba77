package framework

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/closing"
)

// The hooks of a controller. Each is optional, found by its method, and never routable.
type (
	// MessageHook is called for an action that the controller does not have.
	MessageHook interface{ OnMessage(*Ctx) (*Reply, error) }
	// CloseHook is called when a connection ends that has this controller as a close listener.
	CloseHook interface{ OnClose(*Closed) }
	// ReloadHook is called in the old process before a reload moves its connections.
	ReloadHook interface{ OnReload(context.Context) error }
	// ShutdownHook is called once when the server stops.
	ShutdownHook interface{ OnShutdown(context.Context) error }
	// GuardHook runs before each action; an error stops it.
	GuardHook interface{ Guard(*Ctx) error }

	// WorkerStartHook is called once in every worker before it accepts connections, for timers and
	// the like: ctx ends when the worker's connections have moved or ended. At a reload it is
	// called after the old worker's OnReload and right before the connections move, so that the
	// timers of one worker run and not those of both; pushes are held until the move is over. An
	// error keeps the worker from starting, and at a reload the old one goes on.
	WorkerStartHook interface {
		OnWorkerStart(ctx context.Context, app *App) error
	}
	// ConnectHook is called once for every new connection, before its first frame is read; not for
	// those that a reload moves. An error ends the connection: a Fail is sent to the client, which
	// is closed with 4011; any other error is logged, and closes it with 1011.
	ConnectHook interface{ OnConnect(*Ctx) error }
	// WorkerStopHook is called once when a worker ends, after its connections have moved or ended.
	WorkerStopHook interface{ OnWorkerStop(context.Context) error }
)

type hooks struct {
	message  Action
	close    func(*Closed)
	reload   func(context.Context) error
	shutdown func(context.Context) error
	start    func(context.Context, *App) error
	connect  func(*Ctx) error
	stop     func(context.Context) error
}

// find records the hooks that c has. OnMessage is wrapped like an action.
func (h *hooks) find(c any, wrap func(Action) Action) {
	if m, ok := c.(MessageHook); ok {
		h.message = wrap(m.OnMessage)
	}
	if m, ok := c.(CloseHook); ok {
		h.close = m.OnClose
	}
	if m, ok := c.(ReloadHook); ok {
		h.reload = m.OnReload
	}
	if m, ok := c.(ShutdownHook); ok {
		h.shutdown = m.OnShutdown
	}
	if m, ok := c.(WorkerStartHook); ok {
		h.start = m.OnWorkerStart
	}
	if m, ok := c.(ConnectHook); ok {
		h.connect = m.OnConnect
	}
	if m, ok := c.(WorkerStopHook); ok {
		h.stop = m.OnWorkerStop
	}
}

// hookShapes maps the name of each hook to its shape.
var hookShapes = shapesOf(
	reflect.TypeFor[MessageHook](), reflect.TypeFor[CloseHook](), reflect.TypeFor[ReloadHook](), reflect.TypeFor[ShutdownHook](),
	reflect.TypeFor[GuardHook](), reflect.TypeFor[WorkerStartHook](), reflect.TypeFor[ConnectHook](), reflect.TypeFor[WorkerStopHook](),
)

func shapesOf(interfaces ...reflect.Type) map[string]string {
	shapes := map[string]string{}
	for _, t := range interfaces {
		m := t.Method(0)
		shapes[m.Name] = shape(m.Type, 0)
	}
	return shapes
}

// lifecycle runs the hooks of all controllers.
type lifecycle struct {
	server *Server
	router *router
	life   context.Context // ends with this worker's part
	end    context.CancelFunc
	start  func() error // runs OnWorkerStart, once
}

func newLifecycle(s *Server, r *router, a *App) *lifecycle {
	l := &lifecycle{server: s, router: r}
	l.life, l.end = context.WithCancel(context.Background())
	l.start = sync.OnceValue(func() error {
		return l.run("OnWorkerStart", func(h *hooks) func(context.Context) error {
			if h.start == nil {
				return nil
			}
			return func(ctx context.Context) error { return h.start(ctx, a) }
		}, l.life)
	})
	return l
}

// startLate runs OnWorkerStart where the connections are this worker's already: no other worker
// could serve them.
func (l *lifecycle) startLate() {
	if err := l.start(); err != nil {
		l.server.log.Error("the worker serves without what its application starts", zap.Error(err))
	}
}

func (l *lifecycle) reloading(ctx context.Context) error {
	return l.run("OnReload", func(h *hooks) func(context.Context) error { return h.reload }, ctx)
}

func (l *lifecycle) shutdown(ctx context.Context) error {
	return l.run("OnShutdown", func(h *hooks) func(context.Context) error { return h.shutdown }, ctx)
}

func (l *lifecycle) stop(ctx context.Context) error {
	return l.run("OnWorkerStop", func(h *hooks) func(context.Context) error { return h.stop }, ctx)
}

func (l *lifecycle) run(what string, pick func(*hooks) func(context.Context) error, ctx context.Context) error {
	var errs []error
	for _, c := range l.router.mounted {
		f := pick(&c.hooks)
		if f == nil {
			continue
		}
		err := errPanic
		protect(l.server.log, what+" of "+c.name, func() { err = f(ctx) })
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of %s: %w", what, c.name, err))
		}
	}
	return errors.Join(errs...)
}

// closeTime is how long the listeners of one connection may take before their context ends.
const closeTime = 5 * time.Second

// closed runs the OnClose of mounted controllers.
func (l *lifecycle) closed(listeners []string, e closing.End) {
	if len(listeners) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	closed := &Closed{Context: ctx, server: l.server, FD: e.FD, Auth: e.Auth, Code: e.Code, Reason: e.Reason}
	for _, name := range listeners {
		c := l.router.controllers[name]
		if c == nil || c.hooks.close == nil {
			continue // a reload has removed it
		}
		protect(l.server.log, "OnClose of "+name, func() { c.hooks.close(closed) })
	}
}
