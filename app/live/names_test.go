package live_test

import (
	"errors"
	"testing"

	"wsframe/app"
	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// The module reserves its keys; what back ends read keeps its documented name.
func TestReserved(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	for name, want := range map[string]error{"LIVE_USER_MESSAGE_V": framework.ErrReserved, "LIVE_USER_ROOM_V": nil, "LIVE_WALL_ROOM_V": nil} {
		if err := h.App.Publish(name, framework.OK("e", "")); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}
