package framework

import (
	"errors"
	"reflect"

	"wsframe/framework/internal/contract"
)

// looseForms are the types that accept more than one form of a value, by the one to write.
var looseForms = map[reflect.Type]contract.Type{
	reflect.TypeFor[Int]():  {Kind: contract.KindNumber, Format: "int"},
	reflect.TypeFor[Str]():  {Kind: contract.KindString},
	reflect.TypeFor[Bool](): {Kind: contract.KindBool},
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
	for method, t := range r.actions {
		a := t.controller.signatures[method[len(t.controller.name)+1:]]
		a.Method = method
		s.Actions = append(s.Actions, a)
	}
	return contract.Describe(s), nil
}
