package framework

import (
	"reflect"
	"unsafe"
)

// typedAction is a method func(*T, *Ctx, *In) (*Reply, error) of one controller; in is the *In.
type typedAction func(c *Ctx, in reflect.Value) (*Reply, error)

// bindUnsafe calls the method expression as a func of unsafe pointers, since In is known by
// reflection only. Both types have the same calling convention: a pointer is passed as a pointer,
// whatever it points to. A func value is itself a pointer to its code, and stands in the second
// word of the interface. bindReflect does the same without such knowledge, about 25 times as slow.
func bindUnsafe(controller reflect.Value, m reflect.Method) typedAction {
	f := m.Func.Interface()
	code := (*[2]unsafe.Pointer)(unsafe.Pointer(&f))[1]
	call := *(*func(unsafe.Pointer, *Ctx, unsafe.Pointer) (*Reply, error))(unsafe.Pointer(&code))
	self := controller.UnsafePointer()
	return func(c *Ctx, in reflect.Value) (*Reply, error) { return call(self, c, in.UnsafePointer()) }
}

// bindReflect is for builds with the tag purego.
func bindReflect(controller reflect.Value, m reflect.Method) typedAction {
	return func(c *Ctx, in reflect.Value) (*Reply, error) {
		out := m.Func.Call([]reflect.Value{controller, reflect.ValueOf(c), in})
		err, _ := out[1].Interface().(error)
		return out[0].Interface().(*Reply), err
	}
}
