package framework

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"wsframe/framework/internal/accept"
	"wsframe/framework/internal/contract"
)

// Action is a routable method in the form in which the router calls it.
type Action func(c *Ctx) (*Reply, error)

// Middleware wraps every action of a controller; the first given is the outermost.
type Middleware func(next Action) Action

// Controller is what an application mounts: a struct with its name, its actions and its hooks, by
// Mount, an HTTP handler, by HTTP, or a check of clients, by Authenticate.
type Controller struct {
	name       string // module.controller, lower case
	kind       string // Go type, for the route table
	actions    map[string]Action
	signatures map[string]contract.ActionSource // by action
	answers    map[string]*answerEvent          // of the actions that return an Out
	paces      map[string]string                // declared for actions, see Inline
	hooks      hooks
	page       *accept.Page // of HTTP, which has nothing else

	authenticator Authenticator // of Authenticate, which has nothing else

	err error // what is wrong with it; New reports it
}

var namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)?$`)

const wantedShape = "func(*framework.Ctx) (*framework.Reply, error), with or without an *In as the second parameter, " +
	"and *framework.Reply or an *Out as the first result"

// Mount makes every exported method of c that has an action's shape routable as name.method. name
// is "controller" or "module.controller", in any case. New refuses, by name, an exported method of
// any other shape, a hook of the wrong shape and an invalid name. c must be safe for concurrent
// use: actions of different connections run at the same time.
//
// The shapes are
//
//	func(*Ctx) (*Reply, error)
//	func(*Ctx, *In) (*Reply, error)
//	func(*Ctx) (*Out, error)
//	func(*Ctx, *In) (*Out, error)
//
// In is a struct that is decoded from the frame and validated. Out is a struct, slice or map, the
// param of a reply with status 200. Its event is the controller, the method and Success: Say of
// chat.room replies roomSaySuccess. Answers chooses another one. An Out of None has no param and
// may be nil; any other nil beside a nil error is answered with 500 controllerError.
func Mount[T any](name string, c *T, mw ...Middleware) Controller {
	m := Controller{
		name: strings.ToLower(name), kind: reflect.TypeFor[*T]().String(),
		actions: map[string]Action{}, signatures: map[string]contract.ActionSource{}, answers: map[string]*answerEvent{},
	}
	m.err = mount(&m, name, c, mw)
	return m
}

func mount[T any](m *Controller, name string, c *T, mw []Middleware) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("mount %q: the name must be controller or module.controller, of letters, digits and _", name)
	}
	if c == nil {
		return fmt.Errorf("mount %q: the controller is nil", name)
	}
	if !strings.Contains(m.name, ".") {
		m.name = "index." + m.name
	}
	guard, _ := any(c).(GuardHook)
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
	t := reflect.TypeFor[*T]()
	var wrong []string
	for i := range t.NumMethod() {
		method := t.Method(i)
		if wanted, hook := hookShapes[method.Name]; hook {
			if got := shape(method.Type, 1); got != wanted {
				wrong = append(wrong, fmt.Sprintf("hook %s.%s is %s, wanted %s", m.kind, method.Name, got, wanted))
			}
			continue
		}
		s, ok := signatureOf(method)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s.%s is %s, wanted %s (or an unexported name)", m.kind, method.Name, shape(method.Type, 1), wantedShape))
			continue
		}
		route := strings.ToLower(method.Name)
		if m.actions[route] != nil {
			wrong = append(wrong, fmt.Sprintf("%s.%s: another action has that name but for case", m.kind, method.Name))
		}
		if s.Typed {
			m.answers[route] = &answerEvent{name: successOf(name, method.Name)}
			s.Event = m.answers[route].name
		}
		m.signatures[route] = s
		m.actions[route] = wrap(bind(c, method, m.answers[route]))
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

// Answers sets the event, and its info, with which an action replies that returns an Out. New
// refuses an action of another shape, and an event with another type of param.
//
//	framework.Answers(framework.Mount("poll", &Poll{}), "vote", framework.Event[VoteOut]("voted"))
func Answers[T any](c Controller, action string, e EventOf[T]) Controller {
	if c.err != nil {
		return c
	}
	route := strings.ToLower(action)
	a, s := c.answers[route], c.signatures[route]
	switch {
	case a == nil:
		c.err = fmt.Errorf("mount %q: %s has no action %q that returns an Out", c.name, c.kind, action)
	case s.Out != paramOf(reflect.TypeFor[T]()):
		c.err = fmt.Errorf("mount %q: %s of %s returns %v, but the param of the event %q is %v", c.name, action, c.kind, s.Out, e.name, reflect.TypeFor[T]())
	default:
		*a = answerEvent{e.name, e.info}
		s.Event = e.name
		c.signatures[route] = s
	}
	return c
}

// shape prints a function's type without its first parameters.
func shape(t reflect.Type, skip int) string {
	in := make([]reflect.Type, 0, t.NumIn())
	for i := skip; i < t.NumIn(); i++ {
		in = append(in, t.In(i))
	}
	out := make([]reflect.Type, 0, t.NumOut())
	for i := range t.NumOut() {
		out = append(out, t.Out(i))
	}
	return strings.ReplaceAll(reflect.FuncOf(in, out, t.IsVariadic()).String(), "frame.Reply", "framework.Reply")
}

// Inline declares that actions of a controller take microseconds and never wait. They run in the
// event loop from their first call, without a goroutine of their own. Without names it applies to
// all actions of the controller, and to its OnMessage. New refuses a name that is not an action's.
//
//	framework.Inline(framework.Mount("poll", &Poll{}), "vote", "count")
//
// An action that takes 1 ms or more nevertheless delays no other connection for longer than 2 ms,
// and runs in goroutines until it was quick again for a while. Actions that are not declared are
// measured, and run inline once they have been quick.
func Inline(c Controller, actions ...string) Controller { return c.declare(paceInline, actions) }

// Blocking declares that actions of a controller wait, for a database for example. They always run
// in a goroutine of their connection. Names are treated as those of Inline.
func Blocking(c Controller, actions ...string) Controller { return c.declare(paceBlocking, actions) }

// onMessage is the name of OnMessage in Controller.paces. No action has it.
const onMessage = ""

func (c Controller) declare(pace string, actions []string) Controller {
	if c.err != nil {
		return c
	}
	c.paces = maps.Clone(c.paces)
	if c.paces == nil {
		c.paces = map[string]string{}
	}
	if len(actions) == 0 {
		for name := range c.actions {
			c.paces[name] = pace
		}
		c.paces[onMessage] = pace
	}
	for _, name := range actions {
		route := strings.ToLower(name)
		if c.actions[route] == nil {
			c.err = fmt.Errorf("mount %q: %s has no action %q that could be %s", c.name, c.kind, name, pace)
			return c
		}
		c.paces[route] = pace
	}
	return c
}
