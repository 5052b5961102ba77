//go:build unix

package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

// Connections move with their rooms. The steps of both sides come in the order on which other
// nodes, Redis and clients rely.
func TestMove(t *testing.T) {
	x := prepare(t)
	const n = batchSize + 5 // two batches
	var clients []*client
	for fd := range int64(n) {
		clients = append(clients, x.old.connect(fd+1, "hall"))
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	x.old.phpFile = null
	x.begin()
	x.end()
	if x.sendErr != nil || x.recvErr != nil || x.gave.Connections != n || x.got.Connections != n || len(x.gave.Notes)+len(x.got.Notes) > 0 {
		t.Fatalf("%+v %v, %+v %v", x.gave, x.sendErr, x.got, x.recvErr)
	}
	if x.old.hub.Len() != 0 || x.next.hub.Len() != n || len(x.next.hub.RoomMembers("hall")) != n {
		t.Errorf("%d remain, %d have moved, %d are in the room", x.old.hub.Len(), x.next.hub.Len(), len(x.next.hub.RoomMembers("hall")))
	}
	x.next.onTo = func(c *hub.Conn, text string) { say(c, text+" by next") }
	for _, c := range clients {
		c.send("hello")
		c.want("hello by next")
	}
	x.old.wantOrder("pause", "freeze", "suspend", "give up", "hand over", "handed over", "release", "end", "detach", "handed")
	x.next.wantOrder(`adopt "place"`, "take over", "start", "adopted", "php a client all")
	if x.next.count("reserve") != n || x.next.count("adopted") != n || x.old.count("closed") != 0 {
		t.Errorf("%q", x.next.calls)
	}
}

// After a failure before the commit, the old worker serves all connections and the new one has
// none.
func TestMoveFails(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(x *transfer)
		want    string
	}{
		"the bus cannot be suspended": {func(x *transfer) { x.old.suspendErr = errors.New("no suspend") }, "no suspend"},
		"the bus cannot be adopted":   {func(x *transfer) { x.next.adoptErr = errors.New("no adopt") }, "wait for the new process"},
		"the new one dies at first":   {func(x *transfer) { x.nextPipe.die() }, "died"},
		"the new one dies at the batch": {func(x *transfer) {
			x.oldPipe.before = func(kind byte) {
				if kind == msgBatch {
					x.nextPipe.die()
				}
			}
		}, "hand connections over"},
		"the new one dies at the commit": {func(x *transfer) {
			x.oldPipe.before = func(kind byte) {
				if kind == msgCommit {
					x.nextPipe.die()
				}
			}
		}, "died"},
	} {
		t.Run(name, func(t *testing.T) {
			x := prepare(t)
			a, b := x.old.connect(1, "hall"), x.old.connect(2)
			test.prepare(x)
			x.begin()
			x.end()
			if x.sendErr == nil || !strings.Contains(x.sendErr.Error(), test.want) || x.recvErr == nil || isClosed(x.handed) || isClosed(x.serving) {
				t.Fatalf("%v, %v, %v %v", x.sendErr, x.recvErr, isClosed(x.handed), isClosed(x.serving))
			}
			for _, c := range []*client{a, b} {
				c.send("hello")
				c.want("hello")
			}
			if x.old.hub.Len() != 2 || x.next.hub.Len() != 0 || x.next.count("reserve") != x.next.count("release") || x.next.count("start") != 0 {
				t.Errorf("%d and %d connections; %q", x.old.hub.Len(), x.next.hub.Len(), x.next.calls)
			}
			if x.old.count("pause") != x.old.count("resume port") || x.old.count("handed over") != 0 {
				t.Errorf("%q", x.old.calls)
			}
		})
	}
}

// When the old worker dies, the new one serves the connections that it has received, and reports
// that.
func TestOldDies(t *testing.T) {
	x := prepare(t)
	c := x.old.connect(1)
	x.oldPipe.before = func(kind byte) {
		if kind == msgCommit {
			x.oldPipe.die()
		}
	}
	x.begin()
	x.end()
	if !isClosed(x.serving) || x.recvErr != nil || x.got.Connections != 1 || !strings.Contains(fmt.Sprint(x.got.Notes), "ended in the middle") {
		t.Fatalf("%+v %v", x.got, x.recvErr)
	}
	if x.next.count("opened") != 1 { // Redis may not know it
		t.Errorf("%q", x.next.calls)
	}
	c.send("hello")
	c.want("hello")
	x.old.hub.Thaw() // the test's process lives on
}

// waiting has connection 1 of the old worker run an action until the test ends it.
func waiting(x *transfer) (c *client, conn *hub.Conn, endAction func()) {
	running, end := make(chan *hub.Conn, 1), make(chan struct{})
	x.old.onTo = func(c *hub.Conn, text string) {
		if text == "wait" {
			running <- c
			<-end
			say(c, "done by old")
		}
	}
	c = x.old.connect(1)
	c.send("wait")
	return c, <-running, func() { close(end) }
}

// A connection moves while its action runs. The action's frames and questions are relayed; the new
// worker handles the client's next message after the action.
func TestRunningAction(t *testing.T) {
	x := prepare(t)
	c, conn, endAction := waiting(x)
	idle := x.old.connect(2)
	x.begin()
	x.wait("the hand-over", x.handed)
	c.send("next")
	idle.send("idle")
	idle.want("idle")
	say(conn, "meanwhile")
	c.want("meanwhile")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f, err := x.old.next.Ask(ctx, ask.Inquiry{})
	if err != nil || len(f.Replies) != 1 || f.Replies[0].Count != 42 {
		t.Errorf("%+v, %v", f, err)
	}
	endAction()
	c.want("done by old")
	c.want("next")
	x.end()
	if x.sendErr != nil || x.recvErr != nil || x.gave.Connections != 2 || !strings.Contains(fmt.Sprint(x.gave.Notes), "1 actions were still running") {
		t.Errorf("%+v %v, %v", x.gave, x.sendErr, x.recvErr)
	}
}

// An action that does not end within the limit loses its reply, and is named.
func TestActionOutlivesLimit(t *testing.T) {
	x := prepare(t)
	c, _, endAction := waiting(x)
	x.begin()
	x.wait("the hand-over", x.handed)
	x.cancel()
	x.end()
	if note := "1 actions outlived the limit; their answers are lost: hall.wait"; !slices.Contains(x.gave.Notes, note) {
		t.Errorf("%q", x.gave.Notes)
	}
	endAction()
	c.send("next")
	c.want("next")
}

// A close by the old worker comes after what it had sent on the bus. The end of a connection in the
// new one ends the context of its action in the old one.
func TestRelayedEnds(t *testing.T) {
	t.Run("by the old worker", func(t *testing.T) {
		x := prepare(t)
		c, conn, endAction := waiting(x)
		x.begin()
		x.wait("the hand-over", x.handed)
		conn.Close(4001, "enough")
		if op, payload := c.frame(); op != wire.OpClose || !strings.HasSuffix(payload, "enough") {
			t.Errorf("%d %q", op, payload)
		}
		endAction()
		x.end()
		x.next.wantOrder("after old#7")
	})
	t.Run("by the new worker", func(t *testing.T) {
		x := prepare(t)
		_, conn, endAction := waiting(x)
		x.begin()
		x.wait("the hand-over", x.handed)
		x.next.hub.Get(1).Close(4002, "enough")
		x.wait("the end of the action's context", conn.Done())
		endAction()
		x.end()
	})
}

// When the old worker dies with a running action, its client is closed and asks again; others stay.
func TestOldDiesWithAction(t *testing.T) {
	x := prepare(t)
	c, _, endAction := waiting(x)
	idle := x.old.connect(2)
	x.begin()
	x.wait("the hand-over", x.handed)
	x.oldPipe.die()
	x.wait("the receiver's end", x.received)
	if op, payload := c.frame(); op != wire.OpClose || !strings.HasSuffix(payload, "server reloads") {
		t.Errorf("%d %q", op, payload)
	}
	idle.send("idle")
	idle.want("idle")
	if !strings.Contains(fmt.Sprint(x.got.Notes), "1 actions ended with the old worker") {
		t.Errorf("%q", x.got.Notes)
	}
	x.cancel()
	endAction()
	x.end()
}

// A handshake that had begun before the move ends as a connection of the old worker, which moves
// later.
func TestLateConnection(t *testing.T) {
	x := prepare(t)
	x.old.handshakes.Store(1)
	early := x.old.connect(1)
	x.begin()
	x.wait("the hand-over", x.handed)
	early.send("early")
	early.want("early")
	late := x.old.connect(2)
	x.old.handshakes.Store(0)
	x.end()
	if x.gave.Connections != 2 || x.got.Connections != 2 || x.next.hub.Len() != 2 {
		t.Errorf("%+v, %+v", x.gave, x.got)
	}
	x.next.onTo = func(c *hub.Conn, text string) { say(c, text+" by next") }
	late.send("late")
	late.want("late by next")
}

// A stopped process delays the other one by no more than the time of one step.
func TestSilence(t *testing.T) {
	for _, kind := range []byte{msgReady, msgServing} {
		synctest.Test(t, func(t *testing.T) {
			old := newWorker(t)
			a, b := memoryPipes()
			defer b.die()
			if kind == msgServing {
				b.other.in <- message{kind: msgReady}
			}
			begun := time.Now()
			_, err := Send(t.Context(), old.cfg, a, func(int) { t.Error("handed over") })
			if !isTimeout(err) || time.Since(begun) != roundTime {
				t.Errorf("no %q: %v after %v", kind, err, time.Since(begun))
			}
			if kind == msgServing {
				old.wantOrder("keep serving", "resume link", "resume port")
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		next := newWorker(t)
		a, b := memoryPipes()
		for _, m := range []message{{kind: msgHello, body: []byte{hub.TransferVersion, 0}}, {kind: msgBatch}} {
			if err := a.Send(m.kind, m.body, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Offer(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		_, err := Receive(next.cfg, b, func() { t.Error("it serves") })
		if !isTimeout(err) || time.Since(begun) != roundTime || !a.Claim() {
			t.Errorf("the old worker is silent: %v after %v", err, time.Since(begun))
		}
	})
}
