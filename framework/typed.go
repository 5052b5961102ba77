package framework

import (
	"errors"
	"reflect"
	"strings"
	"unsafe"

	"wsframe/framework/internal/contract"
)

var (
	ctxType   = reflect.TypeFor[*Ctx]()
	replyType = reflect.TypeFor[*Reply]()
	errorType = reflect.TypeFor[error]()
)

// answerEvent is the event of the replies of an action that returns an Out.
type answerEvent struct{ name, info string }

// signatureOf describes a method that has the shape of an action.
func signatureOf(m reflect.Method) (s contract.ActionSource, ok bool) {
	t := m.Type
	if t.IsVariadic() || t.NumOut() != 2 || t.Out(0).Kind() != reflect.Pointer || t.Out(1) != errorType || t.NumIn() < 2 || t.NumIn() > 3 || t.In(1) != ctxType {
		return s, false
	}
	if t.NumIn() == 3 {
		if t.In(2).Kind() != reflect.Pointer || t.In(2).Elem().Kind() != reflect.Struct {
			return s, false
		}
		s.In = t.In(2).Elem()
	}
	if t.Out(0) == replyType {
		return s, true
	}
	switch t.Out(0).Elem().Kind() {
	case reflect.Struct, reflect.Slice, reflect.Map:
		s.Typed, s.Out = true, paramOf(t.Out(0))
		return s, true
	}
	return s, false
}

// successOf is the event of replies where the mount says nothing else: controller, method, Success.
// The name index is left out, as in a method.
func successOf(mounted, method string) string {
	controller := mounted[strings.LastIndexByte(mounted, '.')+1:]
	if strings.EqualFold(controller, "index") {
		controller = ""
	}
	if strings.EqualFold(method, "index") {
		method = ""
	}
	e := controller + method + "Success"
	return strings.ToLower(e[:1]) + e[1:]
}

var errNoOut = errors.New("the action has returned neither an Out nor an error")

// bind turns a method into an Action. Reflection ends here: a call of the result costs an indirect
// call, plus decoding where the method has an In. answer is the event of replies where the method
// returns an Out.
func bind[T any](c *T, m reflect.Method, answer *answerEvent) func(*Ctx) (*Reply, error) {
	if call, ok := m.Func.Interface().(func(*T, *Ctx) (*Reply, error)); ok {
		return func(ctx *Ctx) (*Reply, error) { return call(c, ctx) }
	}
	decode := func(*Ctx) (v reflect.Value, err error) { return v, nil }
	if m.Type.NumIn() == 3 {
		decode = newInput(m.Type.In(2).Elem()).decode
	}
	self := reflect.ValueOf(c)
	if answer == nil {
		call := bindTyped(self, m)
		return func(ctx *Ctx) (*Reply, error) {
			in, err := decode(ctx)
			if err != nil {
				return nil, err
			}
			out, err := call(ctx, in)
			return (*Reply)(out), err
		}
	}
	param := paramMaker(m.Type.Out(0))
	call := bindTyped(self, m)
	return func(ctx *Ctx) (*Reply, error) {
		in, err := decode(ctx)
		if err != nil {
			return nil, err
		}
		out, err := call(ctx, in)
		switch {
		case err != nil:
			return nil, err
		case param == nil:
			return &Reply{Status: 200, Event: answer.name, Info: answer.info}, nil
		case out == nil:
			return nil, errNoOut
		}
		return &Reply{Status: 200, Event: answer.name, Info: answer.info, Param: param(out)}, nil
	}
}

// paramMaker returns a function that makes an interface of a pointer of type t; nil where that is a
// *None. An interface with a pointer is its type and the pointer, so this costs no allocation.
func paramMaker(t reflect.Type) func(unsafe.Pointer) any {
	if paramOf(t) == nil {
		return nil
	}
	return func(p unsafe.Pointer) any { return reflect.NewAt(t.Elem(), p).Interface() }
}

// typedAction is a method of one controller; in is its *In, invalid where it has none. The first
// result is a *Reply or an *Out.
type typedAction func(c *Ctx, in reflect.Value) (unsafe.Pointer, error)

// bindUnsafe calls the method expression as a func of unsafe pointers, since In and Out are known
// by reflection only. Both types have the same calling convention: a pointer is passed as a
// pointer, whatever it points to. A func value is itself a pointer to its code, and stands in the
// second word of the interface. bindReflect does the same without such knowledge, about 25 times as
// slow.
func bindUnsafe(controller reflect.Value, m reflect.Method) typedAction {
	f := m.Func.Interface()
	code := (*[2]unsafe.Pointer)(unsafe.Pointer(&f))[1]
	self := controller.UnsafePointer()
	if m.Type.NumIn() == 2 {
		call := *(*func(unsafe.Pointer, *Ctx) (unsafe.Pointer, error))(unsafe.Pointer(&code))
		return func(c *Ctx, _ reflect.Value) (unsafe.Pointer, error) { return call(self, c) }
	}
	call := *(*func(unsafe.Pointer, *Ctx, unsafe.Pointer) (unsafe.Pointer, error))(unsafe.Pointer(&code))
	return func(c *Ctx, in reflect.Value) (unsafe.Pointer, error) { return call(self, c, in.UnsafePointer()) }
}

// bindReflect is for builds with the tag purego.
func bindReflect(controller reflect.Value, m reflect.Method) typedAction {
	return func(c *Ctx, in reflect.Value) (unsafe.Pointer, error) {
		args := []reflect.Value{controller, reflect.ValueOf(c)}
		if in.IsValid() {
			args = append(args, in)
		}
		out := m.Func.Call(args)
		err, _ := out[1].Interface().(error)
		return out[0].UnsafePointer(), err
	}
}
