package framework_test

import (
	"testing"

	"wsframe/framework/frameworktest"
)

// Each node knows of the others what they said with their last sign of life, and of itself what is now.
func TestSigns(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, at func(int) *frameworktest.Harness) {
		fdOf(at(0).Dial(user("1")), "room")
		fdOf(at(0).Dial(user("1")), "room")
		total := 3
		if at(0) == at(1) {
			total = 1
		}
		own, err := at(0).App.Signs(t.Context())
		if err != nil || len(own) != total {
			t.Fatalf("%+v %v", own, err)
		}
		for _, n := range own {
			if n.Self != (n.Connections == 2) || n.Self && (n.UIDs != 1 || n.Rooms != 1) {
				t.Errorf("%+v", n)
			}
		}
		at(1).Eventually("the other one's sign", func() bool {
			list, err := at(1).App.Signs(t.Context())
			if err != nil || len(list) != total {
				t.Fatalf("%+v %v", list, err)
			}
			found, selves := 0, 0
			for i, n := range list {
				if !n.Living || n.ID == "" || n.Since == 0 || n.PID == 0 || n.Age < 0 || i > 0 && n.ID <= list[i-1].ID {
					t.Errorf("%+v", n)
				}
				if n.Self {
					selves++
				}
				found += n.Connections
			}
			if selves != 1 {
				t.Errorf("%d are the one that was asked", selves)
			}
			return found == 2
		})
	})
}
