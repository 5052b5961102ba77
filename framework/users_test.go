package framework_test

import (
	"errors"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// A user's connections are changed together, on all nodes, and many targets get one push.
func TestUserOf(t *testing.T) {
	nodes := frameworktest.NewCluster(t, 2, mountHall, frameworktest.Quiet())
	a, b, other := nodes[0].Dial(user("7")), nodes[1].Dial(user("7")), nodes[1].Dial(user("8"))
	fdOf(a, "hall")
	fb, fo := fdOf(b, "hall"), fdOf(other, "hall")
	u := framework.UserOf(nodes[0].App.Server, "7")
	list, err := u.Connections(t.Context())
	if err != nil || len(list) != 2 || list[1].FD != fb && list[0].FD != fb {
		t.Fatal(list, err)
	}
	if n, err := u.Join(t.Context(), "VIP"); n != 2 || err != nil {
		t.Error(n, err)
	}
	if n, err := nodes[1].App.RoomCount(t.Context(), "VIP"); n != 2 || err != nil {
		t.Error(n, err)
	}
	if n, err := u.UpdateSession(t.Context(), map[string]any{"level": 3}); n != 2 || err != nil {
		t.Error(n, err)
	}
	if values, err := nodes[0].App.Session(t.Context(), fb); string(values["level"]) != "3" || err != nil {
		t.Error(values, err)
	}
	targets := framework.Targets{FDs: []int64{fo}, UIDs: []string{"7"}, Rooms: []string{"VIP"}}
	if err := framework.SendToMany(nodes[0].App.Server, targets, framework.OK("many", "", 1)); err != nil {
		t.Error(err)
	}
	for _, c := range []*frameworktest.Client{a, a, b, b, other} {
		c.WantPush("many").WantParam("1")
	}
	if n, err := u.Leave(t.Context(), "VIP"); n != 2 || err != nil {
		t.Error(n, err)
	}
	if n, err := framework.UserOf(nodes[0].App.Server, "9").Join(t.Context(), "VIP"); n != 0 || err != nil {
		t.Error(n, err)
	}
	if _, err := framework.UserOf(nodes[0].App.Server, "").Connections(t.Context()); !errors.Is(err, framework.ErrUID) {
		t.Error(err)
	}
	if _, err := u.Join(t.Context(), "WSFRAME_X"); !errors.Is(err, framework.ErrReserved) {
		t.Error(err)
	}
	if err := framework.SendToMany(nodes[0].App.Server, framework.Targets{FDs: []int64{fo}, Rooms: []string{""}}, framework.OK("never", "")); !errors.Is(err, framework.ErrName) {
		t.Error(err)
	}
	other.WantNothing()
}
