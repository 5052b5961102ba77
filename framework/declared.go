package framework

import (
	"reflect"

	"wsframe/framework/internal/contract"
)

// None is the T of an event without a param, and the Out of an action whose reply has none.
type None struct{}

// declared are the events, questions and failures of this program.
var declared contract.Registry

// paramOf is a type as the registry has it: nil where there is no param.
func paramOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[None]() {
		return nil
	}
	return t
}
