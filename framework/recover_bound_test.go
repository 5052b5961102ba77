package framework_test

import (
	"strings"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// What a client says of a room that it is not in yet is kept with its connection: an epoch is no longer than one of ours can be.
func TestRecoverBoundsTheEpoch(t *testing.T) {
	mount := func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("hall", &hall{})}, nil
	}
	h := frameworktest.New(t, mount, frameworktest.Quiet())
	c := h.Dial(user("a"))
	long := strings.Repeat("é", 33) // 66 bytes
	c.Call("sys.recover", map[string]any{"room": "r", "offset": 1, "epoch": long}).Want(400, "paramError").WantParam(`[{"field":"epoch","rule":"max=64"}]`)
	c.Call("sys.recover", map[string]any{"rooms": []any{map[string]any{"room": "r", "offset": 1, "epoch": long}}}).Want(400, "paramError")
	c.Call("sys.recover", map[string]any{"room": "r", "offset": 1, "epoch": long[:64]}).Want(200, "sysRecover")
}
