package framework_test

import (
	"fmt"
	"slices"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// Behind a publish a room's Redis set and its members here are brought together (contract §4): whom a back end put there gets what
// is published from then on, and numbers of connections that are gone are taken out.
func TestRoomSync(t *testing.T) {
	onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
		c := at(1).Dial(user("1"))
		fd := fdOf(c, "other")
		at(1).Flush()
		set := at(0).Redis
		if err := set.SAdd(t.Context(), "ROOM", fd, 1<<40, "no number").Err(); err != nil {
			t.Fatal(err)
		}
		publish := func(text string) {
			t.Helper()
			if err := at(0).App.Publish("ROOM", framework.OK("push", "", text)); err != nil {
				t.Fatal(err)
			}
		}
		publish("first")
		at(1).Eventually("a member by Redis", func() bool { return at(1).App.Hub().Members("ROOM") == 1 })
		publish("second")
		c.WantPush("push").WantParam(`"second"`)
		at(0).Eventually("the stale number gone", func() bool {
			left := set.SMembers(t.Context(), "ROOM").Val()
			slices.Sort(left)
			return slices.Equal(left, []string{fmt.Sprint(fd), "no number"})
		})
		c.Close()
		at(0).Eventually("the member's end", func() bool { return set.SCard(t.Context(), "ROOM").Val() == 1 })
	})
}
