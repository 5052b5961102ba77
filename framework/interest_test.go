package framework_test

import (
	"fmt"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// A node does not read the pushes to rooms without members there, and a connection that joins gets
// everything that is published after the reply to its join.
func TestInterest(t *testing.T) {
	t.Parallel()
	list := frameworktest.NewCluster(t, 3, mountHall, frameworktest.Quiet())
	a, b, idle := list[0], list[1], list[2]
	speaker := a.Dial(user("speaker"))
	fdOf(speaker, "room")
	idle.Dial(user("idle"))
	before := idle.App.Stats().BusRead
	const count = 300
	for i := range count {
		if err := b.App.Publish("room", numbered(i)); err != nil {
			t.Fatal(err)
		}
	}
	wantNumbers(t, speaker, count)
	if read := idle.App.Stats().BusRead - before; read > count/4 {
		t.Errorf("a node without members has read %d of %d entries", read, count)
	}
	for i := range 60 { // of many sub-streams, each joined first here, or not
		room := fmt.Sprint("room", i%40)
		c := list[i%3].Dial(user(fmt.Sprint(i)))
		fdOf(c, room)
		if err := list[(i+1)%3].App.Publish(room, framework.OK("first", "", i)); err != nil {
			t.Fatal(err)
		}
		c.WantPush("first").WantParam(fmt.Sprint(i))
		c.WantNothing()
		if i%2 == 0 {
			c.Close()
		}
	}
	// A back end and another node let connections join.
	c := idle.Dial(user("far"))
	fd := fdOf(c, "base")
	for i := range 10 {
		room := fmt.Sprint("far", i)
		if err := a.App.Join(t.Context(), fd, room); err != nil {
			t.Fatal(err)
		}
		if err := b.App.Publish(room, framework.OK("far", "", i)); err != nil {
			t.Fatal(err)
		}
		c.WantPush("far").WantParam(fmt.Sprint(i))
	}
	for _, h := range list {
		if lost := h.App.Stats().BusLost; lost > 0 {
			t.Errorf("%d were lost", lost)
		}
	}
}
