package framework

import (
	"errors"
	"reflect"
	"testing"
)

type typedIn struct{ N int }

type typedController struct{ calls int }

var errTyped = errors.New("typed")

func (t *typedController) Add(c *Ctx, in *typedIn) (*Reply, error) {
	t.calls++
	if in.N < 0 {
		return nil, errTyped
	}
	return OK("add", c.Method, in.N), nil
}

// Both ways of calling an action with an In give the same.
func TestTypedCalls(t *testing.T) {
	controller := &typedController{}
	method, _ := reflect.TypeFor[*typedController]().MethodByName("Add")
	for name, bind := range map[string]func(reflect.Value, reflect.Method) typedAction{"unsafe": bindUnsafe, "reflect": bindReflect} {
		t.Run(name, func(t *testing.T) {
			controller.calls = 0
			call := bind(reflect.ValueOf(controller), method)
			out, err := call(&Ctx{Method: "a.b.c"}, reflect.ValueOf(&typedIn{N: 7}))
			r := (*Reply)(out)
			if err != nil || r.Event != "add" || r.Info != "a.b.c" || r.Param != 7 {
				t.Errorf("%+v, %v", r, err)
			}
			out, err = call(&Ctx{}, reflect.ValueOf(&typedIn{N: -1}))
			if out != nil || !errors.Is(err, errTyped) || controller.calls != 2 {
				t.Errorf("%+v, %v after %d calls", r, err, controller.calls)
			}
		})
	}
}

// Values of a Ctx are found by key and type of key, the last one first.
func TestCtxValues(t *testing.T) {
	type key int
	type other int
	var c Ctx
	if v := c.Value(key(1)); v != nil {
		t.Errorf("%v before any", v)
	}
	c.SetValue(key(1), "a")
	c.SetValue(other(1), "b")
	c.SetValue(key(2), "c")
	c.SetValue(key(1), "d")
	for k, want := range map[any]any{key(1): "d", other(1): "b", key(2): "c", key(3): nil, "1": nil} {
		if got := c.Value(k); got != want {
			t.Errorf("%T %v: %v, wanted %v", k, k, got, want)
		}
	}
}

// The shapes that hooks must have are those of their interfaces.
func TestHookShapes(t *testing.T) {
	want := map[string]string{
		"OnMessage":     "func(*framework.Ctx) (*framework.Reply, error)",
		"OnClose":       "func(*framework.Closed)",
		"OnReload":      "func(context.Context) error",
		"OnShutdown":    "func(context.Context) error",
		"Guard":         "func(*framework.Ctx) error",
		"OnWorkerStart": "func(context.Context, *framework.App) error",
		"OnConnect":     "func(*framework.Ctx) error",
		"OnWorkerStop":  "func(context.Context) error",
	}
	if !reflect.DeepEqual(hookShapes, want) {
		t.Error(hookShapes)
	}
}
