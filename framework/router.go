package framework

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"wsframe/framework/internal/accept"
	"wsframe/framework/internal/history"
)

// Route is one line of the route table.
type Route struct {
	Method     string // module.controller.action, lower case; of a handler "http" and its path
	Controller string // Go type
	Pace       string // "inline" or "blocking" where the application declares it
}

// router finds the action of a frame. It is built once and read without locks.
type router struct {
	controllers map[string]*Controller
	mounted     []*Controller // in their order
	pages       []accept.Page // by HTTP

	authenticator Authenticator     // by Authenticate; nil = none
	actions       map[string]target // module.controller.action
	fallbacks     map[string]target // OnMessage of module.controller
}

// onMessageSuffix ends the name of a target that is an OnMessage.
const onMessageSuffix = ".onMessage"

type target struct {
	controller *Controller
	action     Action
	name       string // of the route, for the log; nothing of the client's
	method     string // canonical: module.controller.action in lower case
	respelled  bool   // the client has written it in another way
	meter      *meter
}

func newRouter(list []Controller) (*router, error) {
	r := &router{controllers: map[string]*Controller{}, actions: map[string]target{}, fallbacks: map[string]target{}}
	var errs []error
	for i := range list {
		c := &list[i]
		if c.err != nil {
			errs = append(errs, c.err)
			continue
		}
		if c.page != nil {
			r.pages = append(r.pages, *c.page)
			continue
		}
		if c.authenticator != nil {
			if r.authenticator != nil {
				errs = append(errs, errors.New("two authenticators are mounted"))
			}
			r.authenticator = c.authenticator
			continue
		}
		if c.name == "" {
			errs = append(errs, errors.New("a controller was not made by Mount"))
			continue
		}
		if r.controllers[c.name] != nil {
			errs = append(errs, fmt.Errorf("mount %q: another controller has that name", c.name))
			continue
		}
		r.controllers[c.name] = c
		r.mounted = append(r.mounted, c)
		for name, action := range c.actions {
			method := c.name + "." + name
			r.actions[method] = target{controller: c, action: action, name: method, method: method, meter: newMeter(c.paces[name])}
		}
		if c.hooks.message != nil {
			r.fallbacks[c.name] = target{controller: c, action: c.hooks.message, name: c.name + onMessageSuffix, meter: newMeter(c.paces[onMessage])}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return r, nil
}

// find resolves a method (contract §3): dots at both ends are trimmed, missing parts are "index",
// and case is ignored. asked is nil where the frame has no method.
func (r *router) find(asked []byte) (target, *Fail) {
	// Nearly every frame spells its method as it is in the table: no allocation.
	if t, ok := r.actions[string(asked)]; ok {
		return t, nil
	}
	parts := strings.Split(strings.ToLower(strings.Trim(string(asked), ".")), ".")
	if len(parts) > 3 {
		return target{}, errController
	}
	full := [3]string{"index", "index", "index"}
	copy(full[3-len(parts):], parts)
	for i, part := range full {
		if part == "" {
			full[i] = "index"
		}
	}
	name := full[0] + "." + full[1]
	if r.controllers[name] == nil {
		return target{}, errController
	}
	method := name + "." + full[2]
	t, ok := r.actions[method]
	if !ok {
		t, ok = r.fallbacks[name]
	}
	if t.method, t.respelled = method, true; ok {
		return t, nil
	}
	return target{}, errMethod
}

// overran notes that the action of a route, by target.name, is slow.
func (r *router) overran(name string) {
	t, ok := r.actions[name]
	if !ok {
		t, ok = r.fallbacks[strings.TrimSuffix(name, onMessageSuffix)]
	}
	if ok {
		t.meter.pace.slow()
	}
}

func (r *router) routes() []Route {
	list := make([]Route, 0, len(r.actions))
	for method, t := range r.actions {
		list = append(list, Route{method, t.controller.kind, t.controller.paces[method[strings.LastIndexByte(method, '.')+1:]]})
	}
	for _, p := range r.pages {
		list = append(list, Route{Method: "http " + p.Path, Controller: fmt.Sprintf("%T", p.Handler)})
	}
	slices.SortFunc(list, func(a, b Route) int { return strings.Compare(a.Method, b.Method) })
	return list
}

// listener returns the mounted name of a controller that has OnClose.
func (r *router) listener(name string) (string, error) {
	name = strings.ToLower(name)
	if !strings.Contains(name, ".") {
		name = "index." + name
	}
	c := r.controllers[name]
	if c == nil || c.hooks.close == nil {
		return "", fmt.Errorf("close listener %.64q: no mounted controller of that name has OnClose", name)
	}
	return c.name, nil
}

// greets returns the OnConnect of all controllers, in the order of the controllers.
func (r *router) greets() (list []greet) {
	for _, c := range r.mounted {
		if c.hooks.connect != nil {
			list = append(list, greet{c.name, c.hooks.connect})
		}
	}
	return list
}

// withSystem adds the built-in controller.
func withSystem(controllers []Controller) []Controller {
	return append(controllers[:len(controllers):len(controllers)], mountSystem())
}

// Routes returns the route table of the controllers and of the built-in methods, sorted by method,
// without making an App.
func Routes(controllers []Controller) ([]Route, error) {
	r, err := newRouter(withSystem(controllers))
	if err != nil {
		return nil, err
	}
	return r.routes(), nil
}

// mountSystem mounts the built-in methods.
func mountSystem() Controller {
	c := Mount("sys", &system{})
	c = Answers(c, "recover", EventOf[[]history.Recovery]{"sysRecover", "恢复完成"})
	c = Answers(c, "history", EventOf[historyOut]{"sysHistory", "历史消息"})
	return Answers(c, "clientID", EventOf[clientIDOut]{"sysClientId", "连接标识"})
}
