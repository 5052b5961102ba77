package framework

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unsafe"
)

// Action is one routable method in the form in which it is called.
type Action func(c *Ctx) (*Reply, error)

// Middleware wraps every action of a controller; the first given is the outermost.
type Middleware func(next Action) Action

// Controller is a mounted struct: its name, its actions and its hooks. It is made by Mount.
type Controller struct {
	name    string // module.controller, lower case
	kind    string // Go type, for the route table
	actions map[string]Action
	hooks   hooks
	err     error // what is wrong with it; New reports it
}

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

	// WorkerStartHook is called once in every worker before it accepts connections, for timers and the like: ctx ends when the
	// worker's connections have moved or ended. At a reload that is behind the old worker's OnReload and right before the
	// connections move, so that the timers of one worker run and not those of both; what is sent before the move is over
	// leaves behind it. An error keeps the worker from starting, and at a reload the old one goes on.
	WorkerStartHook interface {
		OnWorkerStart(ctx context.Context, app *App) error
	}
	// ConnectHook is called once for every new connection, before its first frame is read; not for those that a reload moves. An
	// error ends the connection: a Fail is told to the client, which is closed with 4011; any other error is logged, and
	// closes it with 1011.
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

// find takes the hooks that c has; message is wrapped like an action.
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

// hookShapes names each hook with the shape it must have.
var hookShapes = map[string]string{
	"OnMessage":     "func(*framework.Ctx) (*framework.Reply, error)",
	"OnClose":       "func(*framework.Closed)",
	"OnReload":      "func(context.Context) error",
	"OnShutdown":    "func(context.Context) error",
	"Guard":         "func(*framework.Ctx) error",
	"OnWorkerStart": "func(context.Context, *framework.App) error",
	"OnConnect":     "func(*framework.Ctx) error",
	"OnWorkerStop":  "func(context.Context) error",
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)?$`)
	ctxType     = reflect.TypeFor[*Ctx]()
	replyType   = reflect.TypeFor[*Reply]()
	errorType   = reflect.TypeFor[error]()
)

const wantedShape = "func(*framework.Ctx) (*framework.Reply, error) or func(*framework.Ctx, *In) (*framework.Reply, error)"

// Mount makes every exported method of c with an action's shape routable as name.method. name is "controller" or
// "module.controller"; case does not matter. An exported method of any other shape, a hook of the wrong shape and an
// invalid name are refused when the App is made, by name. c must be safe for concurrent use: actions of different
// connections run at the same time.
func Mount[T any](name string, c *T, mw ...Middleware) Controller {
	m := Controller{name: strings.ToLower(name), kind: reflect.TypeFor[*T]().String(), actions: map[string]Action{}}
	m.err = m.mount(name, c, mw)
	return m
}

func (m *Controller) mount(name string, c any, mw []Middleware) error {
	v := reflect.ValueOf(c)
	if !namePattern.MatchString(name) {
		return fmt.Errorf("mount %q: the name must be controller or module.controller, of letters, digits and _", name)
	}
	if v.IsNil() {
		return fmt.Errorf("mount %q: the controller is nil", name)
	}
	if !strings.Contains(m.name, ".") {
		m.name = "index." + m.name
	}
	guard, _ := c.(GuardHook)
	wrap := func(a Action) Action {
		if guard != nil {
			next := a
			a = func(c *Ctx) (*Reply, error) {
				if err := guard.Guard(c); err != nil {
					return nil, err
				}
				return next(c)
			}
		}
		for _, w := range slices.Backward(mw) {
			a = w(a)
		}
		return a
	}
	t := v.Type()
	var wrong []string
	for i := range t.NumMethod() {
		method := t.Method(i)
		if shape, hook := hookShapes[method.Name]; hook {
			if got := shapeOf(method.Type); got != shape {
				wrong = append(wrong, fmt.Sprintf("hook %s.%s is %s, wanted %s", m.kind, method.Name, got, shape))
			}
			continue
		}
		action, ok := bind(v, method)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s.%s is %s, wanted %s (or an unexported name)", m.kind, method.Name, shapeOf(method.Type), wantedShape))
			continue
		}
		route := strings.ToLower(method.Name)
		if m.actions[route] != nil {
			wrong = append(wrong, fmt.Sprintf("%s.%s: another action has that name but for case", m.kind, method.Name))
		}
		m.actions[route] = wrap(action)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("mount %q: %s", name, strings.Join(wrong, "; "))
	}
	m.hooks.find(c, wrap)
	if h := &m.hooks; len(m.actions) == 0 && h.message == nil && h.start == nil && h.connect == nil {
		return fmt.Errorf("mount %q: %s has no action: %s", name, m.kind, wantedShape)
	}
	return nil
}

// shapeOf prints a method's type without its receiver.
func shapeOf(t reflect.Type) string {
	in := make([]reflect.Type, 0, t.NumIn())
	for i := 1; i < t.NumIn(); i++ {
		in = append(in, t.In(i))
	}
	out := make([]reflect.Type, 0, t.NumOut())
	for i := range t.NumOut() {
		out = append(out, t.Out(i))
	}
	return strings.ReplaceAll(reflect.FuncOf(in, out, t.IsVariadic()).String(), "frame.Reply", "framework.Reply")
}

// bind turns a method into an Action. Reflection ends here: calling the result costs an indirect call, plus decoding
// where the method takes an In.
func bind(recv reflect.Value, m reflect.Method) (Action, bool) {
	t := m.Type
	if t.NumOut() != 2 || t.Out(0) != replyType || t.Out(1) != errorType || t.IsVariadic() || t.NumIn() < 2 || t.In(1) != ctxType {
		return nil, false
	}
	self := recv.UnsafePointer()
	switch {
	case t.NumIn() == 2:
		call := methodFunc[func(unsafe.Pointer, *Ctx) (*Reply, error)](m)
		return func(c *Ctx) (*Reply, error) { return call(self, c) }, true
	case t.NumIn() == 3 && t.In(2).Kind() == reflect.Pointer && t.In(2).Elem().Kind() == reflect.Struct:
		in := newInput(t.In(2).Elem())
		call := methodFunc[func(unsafe.Pointer, *Ctx, unsafe.Pointer) (*Reply, error)](m)
		return func(c *Ctx) (*Reply, error) {
			v, err := in.decode(c)
			if err != nil {
				return nil, err
			}
			return call(self, c, v)
		}, true
	}
	return nil, false
}

// methodFunc gives the method expression func(*T, *Ctx, *In) the type F, in which the pointers to types that are known
// only by reflection are unsafe.Pointer. Both have the same calling convention, since a pointer is passed as a pointer
// whatever it points to; bind has checked all the types. A func value is itself a pointer to its code, which is
// what the second word of the interface holds.
func methodFunc[F any](m reflect.Method) F {
	f := m.Func.Interface()
	code := (*[2]unsafe.Pointer)(unsafe.Pointer(&f))[1]
	return *(*F)(unsafe.Pointer(&code))
}
