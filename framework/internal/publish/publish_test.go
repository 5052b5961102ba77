package publish_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"wsframe/framework/auth"
	"wsframe/framework/bus"
	"wsframe/framework/frame"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/nodetest"
	"wsframe/framework/internal/publish"
	"wsframe/framework/internal/wire"
)

const outboxBytes = 1000

// node is a node with a link and a history that the test answers for.
type node struct {
	*publish.Publisher
	*nodetest.Node
	hub  *nodetest.Hub
	logs *observer.ObservedLogs

	phase    link.Phase
	isolated bool
	keeps    string // a room in which a kept push waits
	keep     int    // of each room
	putErr   error
	syncErr  error

	sent  []*bus.Message // by the link
	calls []string
	asked []string // rooms to which this node has published
}

func (n *node) Phase() link.Phase      { return n.phase }
func (n *node) Keeps(room string) bool { return room == n.keeps }

func (n *node) Put(m *bus.Message, wait bool) error {
	n.sent = append(n.sent, m)
	n.calls = append(n.calls, fmt.Sprintf("put %c %s keep %d wait %t", m.Kind, m.Key, m.Keep, wait))
	return n.putErr
}

func (n *node) Limits(_ string, d *envelope.Delivery) { d.Keep, d.Age = n.keep, time.Hour }

func (n *node) Before(m *bus.Message) { n.calls = append(n.calls, "before "+m.Key) }

func newNode(t *testing.T, b *nodetest.Bus, id string, alone bool) *node {
	core, logs := observer.New(zapcore.InfoLevel)
	n := &node{Node: b.Node(id), hub: nodetest.NewHub(t, hub.Config{OutboxBytes: outboxBytes, RoomFlush: -1}), logs: logs, phase: link.Serving}
	n.Publisher = publish.New(publish.Config{
		Hub: n.hub.Hub, Nodes: n.Nodes, Link: n, History: n, Alone: alone, OutboxBytes: outboxBytes,
		Isolated:  func() bool { return n.isolated },
		Sync:      func(context.Context) error { n.calls = append(n.calls, "sync"); return n.syncErr },
		Published: n.published,
		Log:       zap.New(core),
	})
	return n
}

func (n *node) published(room string, sent bool) {
	if sent {
		n.asked = append(n.asked, room)
		return
	}
	n.calls = append(n.calls, "published "+room)
}

func (n *node) connect(t *testing.T, fd int64, uid, room string) *nodetest.Conn {
	t.Helper()
	c := n.hub.Connect(fd, auth.Identity{ID: uid}, nil)
	_, err := c.Bind(uid)
	if room != "" && err == nil {
		_, err = c.Join(room)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (n *node) want(t *testing.T, calls ...string) {
	t.Helper()
	if !slices.Equal(n.calls, calls) {
		t.Errorf("calls %q, want %q", n.calls, calls)
	}
	n.calls = nil
}

func wantEvents(t *testing.T, c *nodetest.Conn, events ...string) {
	t.Helper()
	synctest.Wait()
	var got []string
	for _, f := range c.Received() {
		_, event, _ := strings.Cut(f, `"event":"`)
		event, _, _ = strings.Cut(event, `"`)
		got = append(got, event)
	}
	if !slices.Equal(got, events) {
		t.Errorf("connection %d got %q, want %q", c.FD, got, events)
	}
}

func push(event string) *frame.Reply { return &frame.Reply{Status: 200, Event: event} }

func plain(*envelope.Delivery) {}

// send is Send that must succeed.
func (n *node) send(t *testing.T, kind byte, key, event string) {
	t.Helper()
	if err := n.Send(kind, key, push(event), plain); err != nil {
		t.Errorf("%s: %v", event, err)
	}
}

// A node without others delivers at once, in order, to its targets and nobody else.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1", true)
		a, a2, b := n.connect(t, 1, "a", "R"), n.connect(t, 2, "a", ""), n.connect(t, 3, "b", "R")
		n.send(t, envelope.ToRoom, "R", "room")
		n.send(t, envelope.ToUID, "a", "user")
		n.send(t, envelope.ToFD, "3", "fd")
		n.send(t, envelope.ToAll, "", "all")
		n.send(t, envelope.ToFD, "99", "nobody")
		err := n.Send(envelope.ToRoom, "R", push("others"), func(d *envelope.Delivery) { d.Add(1) })
		if err != nil {
			t.Error(err)
		}
		wantEvents(t, a, "room", "user", "all")
		wantEvents(t, a2, "user", "all")
		wantEvents(t, b, "room", "fd", "all", "others")
		n.want(t, "published R", "published R")
	})
}

// A push goes to all nodes over the link, and is written when it comes from there.
func TestOverTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1", false)
		c := n.connect(t, 1, "a", "R")
		n.send(t, envelope.ToRoom, "R", "room")
		n.send(t, envelope.ToUID, "a", "user")
		n.send(t, envelope.ToFD, "1", "fd")
		n.send(t, envelope.ToAll, "", "all")
		wantEvents(t, c)
		n.want(t, "put P R keep 0 wait false", "put U a keep 0 wait false", "put F 1 keep 0 wait false", "put A  keep 0 wait false")
		for _, m := range n.sent {
			n.Received(m)
		}
		wantEvents(t, c, "room", "user", "fd", "all")
		n.want(t, "before R", "published R")
		if !slices.Equal(n.asked, []string{"R"}) {
			t.Error("as the sender this node has published to", n.asked)
		}
	})
}

// During a reload another worker may have the connections, so a push of a node without others
// goes over the link as well.
func TestAloneInAReload(t *testing.T) {
	for _, phase := range []link.Phase{link.TakingOver, link.HandingOver, link.HandedOver} {
		n := newNode(t, nodetest.NewBus(), "n1", true)
		n.phase = phase
		n.send(t, envelope.ToAll, "", "all")
		n.want(t, "put A  keep 0 wait false")
		if c, elsewhere := n.Find(1); c != nil || !elsewhere {
			t.Errorf("%v: a connection is said to be nowhere", phase)
		}
	}
}

// A push that is kept gets its position from Redis, and nothing that is sent to the room later
// overtakes it.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1", true)
		c := n.connect(t, 1, "a", "R")
		n.keep = 7
		n.send(t, envelope.ToRoom, "R", "kept")
		n.keeps = "R"
		err := n.Send(envelope.ToRoom, "R", push("later"), func(d *envelope.Delivery) { d.Keep = 0 })
		if err != nil {
			t.Error(err)
		}
		n.send(t, envelope.ToUID, "a", "user")
		wantEvents(t, c, "user")
		n.want(t, "put P R keep 7 wait false", "put P R keep 0 wait false")
		if n.sent[0].Age != time.Hour {
			t.Errorf("kept for %v", n.sent[0].Age)
		}
		n.sent[0].Offset, n.sent[0].Epoch = 5, "e"
		for _, m := range n.sent {
			n.Received(m)
		}
		wantEvents(t, c, "user", "kept", "later")
		if got := c.Received()[1]; !strings.Contains(got, `"room":"R","offset":5,"epoch":"e"`) {
			t.Errorf("the push came without its position: %s", got)
		}
	})
}

// A Durable push tells its sender what is known of it, and is delivered here where Redis does not
// take it.
func TestDurable(t *testing.T) {
	fault := errors.New("disk")
	for _, tc := range []struct {
		name            string
		alone, durable  bool
		putErr, syncErr error
		want            error
		delivered, sync bool
	}{
		{name: "taken"},
		{name: "waits, and nobody waits for it", putErr: bus.ErrQueued, delivered: true},
		{name: "waits", durable: true, putErr: bus.ErrQueued, want: bus.ErrQueued, delivered: true},
		{name: "not known", durable: true, putErr: bus.ErrUnknown, want: bus.ErrUnknown},
		{name: "too much waits", putErr: bus.ErrFull, want: bus.ErrFull},
		{name: "durable", durable: true},
		{name: "alone, not durable", alone: true},
		{name: "alone", alone: true, durable: true, sync: true},
		{name: "alone, no disk", alone: true, durable: true, syncErr: fault, want: bus.ErrUnknown, sync: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, nodetest.NewBus(), "n1", tc.alone)
				c := n.connect(t, 1, "a", "R")
				n.keep, n.putErr, n.syncErr = 7, tc.putErr, tc.syncErr
				err := n.Send(envelope.ToRoom, "R", push("x"), func(d *envelope.Delivery) { d.Durable = tc.durable })
				if !errors.Is(err, tc.want) || tc.syncErr != nil && !errors.Is(err, tc.syncErr) {
					t.Errorf("%v, want %v", err, tc.want)
				}
				calls := []string{fmt.Sprintf("put P R keep 7 wait %t", tc.durable)}
				var events []string
				if tc.delivered {
					calls, events = append(calls, "published R"), []string{"x"}
				}
				if tc.sync {
					calls = append(calls, "sync")
				}
				n.want(t, calls...)
				wantEvents(t, c, events...)
			})
		})
	}
}

// A node that is cut off refuses what others would not get, and what has no position.
func TestIsolated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, alone := range []bool{true, false} {
			n := newNode(t, nodetest.NewBus(), "n1", alone)
			c := n.connect(t, 1, "a", "R")
			n.isolated = true
			for kind, key := range map[byte]string{envelope.ToRoom: "R", envelope.ToUID: "a", envelope.ToFD: "1", envelope.ToAll: ""} {
				err := n.Send(kind, key, push("x"), plain)
				if refused := errors.Is(err, publish.ErrUnavailable); refused != (!alone || kind == envelope.ToRoom) {
					t.Errorf("alone %t, kind %c: %v", alone, kind, err)
				}
			}
			n.want(t)
			if alone {
				wantEvents(t, c, "x", "x", "x")
			} else {
				wantEvents(t, c)
			}
		}
	})
}

// A push that fits into no outbox is refused before anybody gets it; of a kept one its position
// counts.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1", true)
		c := n.connect(t, 1, "a", "R")
		of := func(size int) *frame.Reply {
			r := push("x")
			b, err := frame.AppendReply(nil, r, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Info = strings.Repeat("i", size-len(b)-wire.FrameLen(size)+size) // the frame has size bytes
			return r
		}
		for _, tc := range []struct {
			size, keep int
			fits       bool
		}{
			{outboxBytes, 0, true}, {outboxBytes + 1, 0, false},
			{outboxBytes - envelope.MaxPosition("R"), 1, true}, {outboxBytes - envelope.MaxPosition("R") + 1, 1, false},
		} {
			n.keep = tc.keep
			err := n.Send(envelope.ToRoom, "R", of(tc.size), plain)
			if tc.fits && err != nil || !tc.fits && !errors.Is(err, hub.ErrTooLarge) {
				t.Errorf("%d bytes, kept %d: %v", tc.size, tc.keep, err)
			}
		}
		wantEvents(t, c, "x")
		if _, err := n.Reach(t.Context(), "a", of(outboxBytes+1), nil); !errors.Is(err, hub.ErrTooLarge) {
			t.Error(err)
		}
		if err := n.SendTo(c.Conn, of(outboxBytes+1), plain); !errors.Is(err, hub.ErrTooLarge) {
			t.Error(err)
		}
	})
}

// A message of another node that cannot be read is logged, and delivered to nobody.
func TestUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), "n1", false)
		c := n.connect(t, 1, "a", "R")
		n.Received(&bus.Message{Kind: envelope.ToRoom, Key: "R", Body: []byte("\x00")})
		n.Received(&bus.Message{Kind: envelope.ToFD, Key: "none", Body: envelope.Seal(&envelope.Delivery{}, []byte(`{"event":"x"}`))})
		wantEvents(t, c)
		n.want(t)
		if n.logs.Len() != 1 {
			t.Errorf("logged %v", n.logs.All())
		}
	})
}

// Reach counts a user's connections on all nodes, after what was sent before has come to each of
// them.
func TestReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := nodetest.NewBus()
		here, there := newNode(t, b, "n1", false), newNode(t, b, "n2", false)
		c1, c2, other := here.connect(t, 1, "a", ""), there.connect(t, 2, "a", ""), there.connect(t, 3, "b", "")
		there.Delay()
		there.send(t, envelope.ToUID, "a", "before")
		type result struct {
			n   int
			err error
		}
		done := make(chan result, 1)
		go func() {
			n, err := here.Reach(t.Context(), "a", push("reach"), nil)
			done <- result{n, err}
		}()
		synctest.Wait()
		wantEvents(t, c1, "reach")
		wantEvents(t, c2)
		there.Received(there.sent[0])
		there.Arrive()
		if r := <-done; r.n != 2 || r.err != nil {
			t.Errorf("%+v", r)
		}
		wantEvents(t, c2, "before", "reach")

		n, err := here.Reach(t.Context(), "a", push("one"), &envelope.Delivery{Except: []int64{1}})
		if n != 1 || err != nil {
			t.Error(n, err)
		}
		b.Mute("n2", true)
		begun := time.Now()
		n, err = here.Reach(t.Context(), "a", push("half"), nil)
		if n != 1 || !errors.Is(err, ask.ErrPartial) || time.Since(begun) > nodetest.Timeout {
			t.Error(n, err, time.Since(begun))
		}
		wantEvents(t, c1, "reach", "half")
		wantEvents(t, other)
	})
}

// SendTo writes to a connection of this node, and Find tells whether one that is not here may be
// elsewhere.
func TestFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone, one := newNode(t, nodetest.NewBus(), "n1", true), newNode(t, nodetest.NewBus(), "n1", false)
		if _, elsewhere := alone.Find(1); elsewhere {
			t.Error("there are no other nodes")
		}
		if _, elsewhere := one.Find(1); !elsewhere {
			t.Error("another node may have it")
		}
		c := one.connect(t, 1, "a", "")
		found, elsewhere := one.Find(1)
		if found != c.Conn || elsewhere {
			t.Error(found, elsewhere)
		}
		if err := one.SendTo(found, push("x"), plain); err != nil {
			t.Error(err)
		}
		wantEvents(t, c, "x")
		c.Close(wire.CloseNormal, "")
		if err := one.SendTo(found, push("y"), plain); !errors.Is(err, hub.ErrClosed) {
			t.Error(err)
		}
	})
}
