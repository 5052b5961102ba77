package framework_test

import (
	"fmt"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

type recovered struct {
	Recovered     bool
	Count         int
	Offset        int64
	Epoch, Reason string
}

// keepsRoom has the room "room" keep a history by the configuration.
func keepsRoom(o *framework.Options) { o.Config.History.Rooms = []string{"room:50:1h"} }

func sayInRoom(c *frameworktest.Client, n int) {
	for i := range n {
		c.Call("hall.say", map[string]any{"room": "room", "text": fmt.Sprint(i)}).Want(200, "said")
	}
}

// comeBack joins with a position and tells what the server says of it.
func comeBack(h *frameworktest.Harness, epoch string, offset int64) (c *frameworktest.Client, r recovered) {
	c = h.DialQuery(user("c"), fmt.Sprintf("recover=room:%s:%d", epoch, offset))
	c.Call("hall.join", map[string]any{"room": "room"}).Want(200, "joined")
	c.WantPush("sysRecovered").Into(&r)
	return c, r
}

// A room without a history costs Redis nothing: no member asks for its position.
func TestNoPositionWithoutHistory(t *testing.T) {
	t.Parallel()
	h := frameworktest.New(t, mountHall)
	c := h.Dial(user("c"))
	fdOf(c, "room")
	sayInRoom(c, 1)
	c.WantPush("say")
	if n := h.Redis.Exists(t.Context(), "WEBSOCKET_BUS:{s0}:EPOCH", "WEBSOCKET_BUS:{s1}:EPOCH", "WEBSOCKET_BUS:{s2}:EPOCH", "WEBSOCKET_BUS:{s3}:EPOCH").Val(); n > 0 {
		t.Errorf("Redis was asked")
	}
}

// Who joins a quiet room, and is away before anything is said in it, misses nothing of what is said then.
func TestPositionAtJoin(t *testing.T) {
	t.Parallel()
	for name, nodes := range map[string][]*frameworktest.Harness{
		"alone": {frameworktest.New(t, mountHall, keepsRoom)}, "nodes": frameworktest.NewCluster(t, 2, mountHall, keepsRoom),
	} {
		t.Run(name, func(t *testing.T) {
			here, there := nodes[0], nodes[len(nodes)-1]
			speaker := there.Dial(user("s"))
			c := here.Dial(user("c"))
			fdOf(c, "room")
			epoch, offset := c.Position("room")
			if offset != 0 || epoch == "" {
				t.Fatalf("%s:%d", epoch, offset)
			}
			c.Vanish()
			sayInRoom(speaker, 2)
			has := func(n int64) func() bool {
				return func() bool {
					p, err := there.App.History(t.Context(), "room", 0, 10)
					return err == nil && p.Offset == n
				}
			}
			there.Eventually("both to be kept", has(2))
			c, r := comeBack(there, epoch, offset)
			if !r.Recovered || r.Count != 2 || r.Offset != 2 {
				t.Fatalf("%+v", r)
			}
			if now := wantOffsets(t, c, 1, 2); now != r.Epoch {
				t.Errorf("pushes of %s, recovered in %s", now, r.Epoch)
			}
			here.Eventually("the room to be empty here", func() bool { return here.App.Hub().Members("room") == 0 || here == there })
			// A room with a history, of which this node has nothing yet; the second who comes is told as well.
			var late []*frameworktest.Client
			for range 2 {
				d := here.Dial(user("d"))
				fdOf(d, "room")
				if e, o := d.Position("room"); e != r.Epoch || o != 2 {
					t.Fatalf("%s:%d instead of %s:2", e, o, r.Epoch)
				}
				late = append(late, d)
			}
			for _, d := range late {
				d.Vanish()
			}
			sayInRoom(speaker, 1)
			there.Eventually("the third to be kept", has(3))
			d, r := comeBack(here, r.Epoch, 2)
			if !r.Recovered || r.Count != 1 {
				t.Fatalf("%+v", r)
			}
			wantOffsets(t, d, 3, 3)
		})
	}
}

// A client that reads histories all the time is told to wait; others are not.
func TestHistoryBudget(t *testing.T) {
	t.Parallel()
	h := frameworktest.New(t, mountHall, keepsRoom)
	greedy, other := h.Dial(user("g")), h.Dial(user("o"))
	fdOf(greedy, "room")
	fdOf(other, "room")
	h.Eventually("too many", func() bool {
		return greedy.Call("sys.history", map[string]any{"room": "room"}).Event == "tooOften"
	})
	other.Call("sys.history", map[string]any{"room": "room"}).Want(200, "sysHistory")
}
