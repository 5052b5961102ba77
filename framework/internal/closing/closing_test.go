package closing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"wsframe/framework/auth"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/closing"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/nodetest"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
)

// node is a node whose bookkeeping and sessions the test answers for.
type node struct {
	*closing.Closer
	*nodetest.Node
	hub  *nodetest.Hub
	logs *observer.ObservedLogs

	calls nodetest.Calls

	mu          sync.Mutex
	phase       link.Phase
	mine, known bool
}

func (n *node) Phase() link.Phase {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.phase
}

func (n *node) Owner(int64) (mine, known bool) { return n.mine, n.known }

func (n *node) Owns(_ context.Context, fd int64) (bool, error) {
	n.calls.Note("whose is %d", fd)
	return n.mine, nil
}

func (n *node) Unheard() map[int64]bool { return nil }

func (n *node) Closed(e cluster.Entry) { n.calls.Note("clean up %d %s %v", e.FD, e.UID, e.Keys) }

// sessions are those of a node, which only note what they do.
type sessions struct{ *node }

func (s sessions) Ended(c *hub.Conn, rooms []string, owned bool) {
	s.calls.Note("ended %d %v %t", c.FD, rooms, owned)
}

func (s sessions) Leave(c *hub.Conn, room string) bool {
	s.calls.Note("leave %d %s", c.FD, room)
	return c.Leave(room)
}

func newNode(t *testing.T, b *nodetest.Bus, id string) *node {
	core, logs := observer.New(zapcore.InfoLevel)
	n := &node{Node: b.Node(id), hub: nodetest.NewHub(t, hub.Config{RoomFlush: 5 * time.Millisecond}), logs: logs, phase: link.Serving, mine: true, known: true}
	n.Closer = closing.New(closing.Config{
		Hub: n.hub.Hub, Nodes: n.Nodes, Link: n, Sessions: sessions{n}, Cluster: n, Log: zap.New(core),
		Notify: func(_ []string, e closing.End) { n.calls.Note("notify %d %s %d %s", e.FD, e.Auth.ID, e.Code, e.Reason) },
		Protect: func(_ string, f func()) {
			f()
		},
	})
	n.hub.Ended = n.Ended
	t.Cleanup(func() { n.Closer.Close(context.Background()) })
	return n
}

func (n *node) connect(t *testing.T, fd int64, uid string, rooms ...string) *nodetest.Conn {
	t.Helper()
	c := n.hub.Connect(fd, auth.Identity{ID: uid, Type: auth.TypeWechatUser}, session.New(nil))
	_, err := c.Bind(uid)
	for _, room := range rooms {
		if err == nil {
			_, err = c.Join(room)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantReceived(t *testing.T, c *nodetest.Conn, frames ...string) {
	t.Helper()
	synctest.Wait()
	if got := c.Received(); !slices.Equal(got, frames) {
		t.Errorf("connection %d got %q, want %q", c.FD, got, frames)
	}
}

// The listeners run before Redis forgets the connection, whatever has ended it.
func TestEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1")
		n.connect(t, 1, "a", "R", "S").Close(wire.CloseKicked, "bye")
		n.calls.Want(t, "notify 1 a 4011 bye", "ended 1 [R S] true", "clean up 1 a [R S]")
		n.connect(t, 2, "b").Vanish()
		n.calls.Want(t, "notify 2 b 1006 ", "ended 2 [] true", "clean up 2 b []")
	})
}

// A node that was declared dead leaves all but its rooms to the node that cleans up.
func TestEndedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1")
		n.mine = false
		n.connect(t, 1, "a", "R").Close(wire.CloseKicked, "bye")
		n.calls.Want(t, "ended 1 [R] false")
	})
}

// While Redis does not answer, the end waits until it is known whose the connection was.
func TestEndedWithoutRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1")
		n.known = false
		n.connect(t, 1, "a", "R").Vanish()
		n.calls.Want(t, "whose is 1", "notify 1 a 1006 ", "ended 1 [R] true", "clean up 1 a [R]")
		n.mine = false
		n.connect(t, 2, "a", "R").Vanish()
		n.calls.Want(t, "whose is 2", "ended 2 [R] false")
	})
}

// The listeners of a dead process's connection get its identity; one that cannot be read keeps
// them from nothing.
func TestOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1")
		n.Orphan(t.Context(), cluster.Orphan{FD: 7, Auth: []byte(`{"id":"u"}`)})
		n.calls.Want(t, "notify 7 u 1006 server ended")
		if n.logs.Len() > 0 {
			t.Errorf("logged %v", n.logs.All())
		}
		n.Orphan(t.Context(), cluster.Orphan{FD: 8, Auth: []byte(`{`)})
		n.calls.Want(t, "notify 8  1006 server ended")
		if n.logs.Len() != 1 {
			t.Errorf("logged %v", n.logs.All())
		}
	})
}

// A node that was declared dead closes the connections of before, not those that came since.
func TestDeposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1")
		before, since := n.connect(t, 9, "a"), n.connect(t, 10, "b")
		n.Deposed(10)
		wantReceived(t, before, "close 1012 server was away")
		wantReceived(t, since)
	})
}

func text(s string) wire.Frame { return wire.TextFrame([]byte(s)) }

// A kick closes a connection on whatever node, after what was sent before: what is on the bus,
// and what waits for a room's tick.
func TestKick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := nodetest.NewBus()
		here, there := newNode(t, b, "n1"), newNode(t, b, "n2")
		c := there.connect(t, 7, "a", "R")
		there.connect(t, 8, "b", "R")
		for range 10 {
			there.hub.Publish("R", text("tick"))
		}
		there.Delay()
		if err := here.Kick(t.Context(), 7, wire.CloseKicked, "bye"); err != nil {
			t.Fatal(err)
		}
		if !c.ClosingSoon() || c.Ended() {
			t.Errorf("closing soon %t, ended %t", c.ClosingSoon(), c.Ended())
		}
		if err := here.Kick(t.Context(), 7, wire.CloseKicked, "again"); !errors.Is(err, ask.ErrNoConnection) {
			t.Errorf("the second kick: %v", err)
		}
		_ = c.Send(text("on its way"))
		there.hub.Publish("R", text("last"))
		there.Arrive()
		time.Sleep(time.Second)
		got := c.Received()
		if len(got) != 13 || got[12] != "close 4011 bye" || !slices.Contains(got, "on its way") || !slices.Contains(got, "last") {
			t.Errorf("it got %q", got)
		}
		for _, fd := range []int64{7, 99} {
			if err := here.Kick(t.Context(), fd, wire.CloseKicked, ""); !errors.Is(err, ask.ErrNoConnection) {
				t.Errorf("%d: %v", fd, err)
			}
		}
	})
}

// A kick does not wait for messages that never come.
func TestKickAfterTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1")
		c := n.connect(t, 7, "a")
		n.Delay()
		if err := n.Kick(t.Context(), 7, wire.CloseKicked, "bye"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(nodetest.Timeout - 1)
		wantReceived(t, c)
		time.Sleep(1)
		wantReceived(t, c, "close 4011 bye")
	})
}

// A kick fails as partial while a node does not answer, since that node may have the connection.
func TestKickUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := nodetest.NewBus()
		here, there := newNode(t, b, "n1"), newNode(t, b, "n2")
		own, others := here.connect(t, 1, "a"), there.connect(t, 2, "a")
		b.Mute("n2", true)
		if err := here.Kick(t.Context(), 2, wire.CloseKicked, ""); !errors.Is(err, ask.ErrPartial) {
			t.Error(err)
		}
		if n, err := here.KickUID(t.Context(), "a", wire.CloseKicked, "bye"); n != 1 || !errors.Is(err, ask.ErrPartial) {
			t.Error(n, err)
		}
		wantReceived(t, own, "close 4011 bye")
		wantReceived(t, others)
	})
}

// KickUID closes and counts a user's connections on all nodes, each once.
func TestKickUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := nodetest.NewBus()
		here, there := newNode(t, b, "n1"), newNode(t, b, "n2")
		list := []*nodetest.Conn{here.connect(t, 1, "a"), here.connect(t, 2, "a"), there.connect(t, 3, "a")}
		other := there.connect(t, 4, "b")
		there.connect(t, 5, "a").SetClosingSoon()
		if n, err := here.KickUID(t.Context(), "a", wire.CloseKicked, "bye"); n != 3 || err != nil {
			t.Error(n, err)
		}
		for _, c := range list {
			wantReceived(t, c, "close 4011 bye")
		}
		wantReceived(t, other)
	})
}

// Dismiss takes the members out of a room on all nodes, after what was published to it before.
func TestDismiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := nodetest.NewBus()
		here, there := newNode(t, b, "n1"), newNode(t, b, "n2")
		c1, c2, kicked := here.connect(t, 1, "a", "R", "S"), there.connect(t, 2, "b", "R"), there.connect(t, 3, "c", "R")
		kicked.SetClosingSoon() // leaves, but does not count
		for range 10 {
			there.hub.Publish("R", text("tick"))
		}
		there.Delay()
		time.AfterFunc(nodetest.Timeout/2, func() {
			there.hub.Publish("R", text("last"))
			there.Arrive()
		})
		if n, err := here.Dismiss(t.Context(), "R"); n != 2 || err != nil {
			t.Error(n, err)
		}
		if got := c2.Received(); len(got) != 11 || got[10] != "last" {
			t.Errorf("it got %q before it had left", got)
		}
		if c1.InRoom("R") || c2.InRoom("R") || kicked.InRoom("R") || !c1.InRoom("S") {
			t.Error("members after the dismissal")
		}
		here.calls.Want(t, "leave 1 R")
		if n, err := here.Dismiss(t.Context(), "R"); n != 0 || err != nil {
			t.Error(n, err)
		}
	})
}

// A worker that has handed its connections over takes nobody out of a room: the next worker does.
func TestDismissHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1")
		c := n.connect(t, 1, "a", "R")
		n.phase = link.HandedOver
		if count, err := n.Dismiss(t.Context(), "R"); count != 0 || err != nil || !c.InRoom("R") {
			t.Error(count, err)
		}
	})
}

// Closes by the server are counted by code and reason; an application's reasons are one kind. A
// client's faults are logged.
func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1")
		for i, end := range []wire.Close{
			{Code: wire.CloseBadData, Reason: "not valid JSON"}, {Code: wire.CloseBadData, Reason: "not valid JSON"},
			{Code: wire.CloseGoingAway, Reason: "stop"}, {Code: 4011, Reason: "the application's"}, {Code: 4012, Reason: "text"}, {Code: 4012, Reason: "another"},
		} {
			n.connect(t, int64(i+1), "a").Close(end.Code, end.Reason)
		}
		n.connect(t, 9, "a").Vanish()
		synctest.Wait()
		got := fmt.Sprint(n.Counts.List())
		if want := "[{1001 stop 1} {1007 not valid JSON 2} {4011 application 1} {4012 application 2}]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if lines := n.logs.FilterMessage("connection closed").All(); len(lines) != 1 || lines[0].ContextMap()["reason"] != "not valid JSON" {
			t.Errorf("logged %v", lines)
		}
	})
}
