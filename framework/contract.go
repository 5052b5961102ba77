package framework

import (
	"errors"
	"reflect"
	"strings"

	"wsframe/framework/internal/contract"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/presence"
)

// looseForms are the types that accept more than one form of a value, by the one to write.
var looseForms = map[reflect.Type]contract.Type{
	reflect.TypeFor[Int]():  {Kind: contract.KindNumber, Format: "int"},
	reflect.TypeFor[Str]():  {Kind: contract.KindString},
	reflect.TypeFor[Bool](): {Kind: contract.KindBool},
}

// builtIn are the events of the framework itself.
func builtIn() []contract.EventSource {
	return []contract.EventSource{
		{Name: "serverBroadcast", Param: reflect.TypeFor[string]()},
		{Name: "sysPosition", Param: reflect.TypeFor[history.PositionOut]()},
		{Name: "sysRecovered", Param: reflect.TypeFor[history.Recovery]()},
		{Name: EventJoined, Param: reflect.TypeFor[presence.UserOut]()},
		{Name: EventLeft, Param: reflect.TypeFor[presence.UserOut]()},
	}
}

// Contract describes what clients of the controllers, and of the built-in methods, can rely on,
// without making an App.
func Contract(controllers []Controller) (*contract.Contract, error) {
	r, err := newRouter(withSystem(controllers))
	if err != nil {
		return nil, err
	}
	s, wrong := declared.Source()
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	s.Known = looseForms
	s.Events = append(s.Events, builtIn()...)
	for method, t := range r.actions {
		a := t.controller.signatures[method[len(t.controller.name)+1:]]
		a.Method = strings.TrimPrefix(method, "index.") // as clients write it
		s.Actions = append(s.Actions, a)
	}
	return contract.Describe(s), nil
}
