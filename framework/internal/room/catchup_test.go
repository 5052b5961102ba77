package room

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"wsframe/framework/internal/wire"
)

// A member that catches up gets what it missed, then what was published meanwhile beyond that,
// then everything, once and in order.
func TestCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Config{})
		p := h.person()
		u := p.CatchUp("r")
		p.enter("r")
		h.person("r")
		for i := 40; i <= 60; i++ {
			h.Publish("r", kept(i))
			if i == 41 {
				h.Publish("r", text("plain"))
			}
		}
		h.SettleRooms()
		if live := p.LiveFrom("r"); live != at(40) || !p.Keeping() {
			t.Error(live)
		}
		p.has("")
		var missed []wire.Frame
		for i := 10; i <= 50; i++ {
			missed = append(missed, kept(i))
		}
		u.End(missed, at(50))
		if p.writes != 1 {
			t.Errorf("%d writes", p.writes)
		}
		for i := 61; i <= 80; i++ {
			h.Publish("r", kept(i))
		}
		h.SettleRooms()
		var want []string
		for i := 10; i <= 80; i++ {
			if want = append(want, fmt.Sprint(i)); i == 50 {
				want = append(want, "plain")
			}
		}
		p.has(strings.Join(want, " "))
	})
}

// One catch-up of a room runs at a time; what it has kept is not lost to another one, and nothing
// of it is left over.
func TestCatchUpOnce(t *testing.T) {
	h := newHouse(t, Config{Flush: -1})
	p := h.person("r")
	u := p.CatchUp("r")
	h.Publish("r", kept(2))
	if p.CatchUp("r") != nil {
		t.Error("a second one has begun")
	}
	u.End([]wire.Frame{kept(1)}, at(1))
	u.End([]wire.Frame{kept(1)}, at(1)) // once
	if p.Keeping() {
		t.Error("something is kept back")
	}
	// A position outlives a catch-up that sets none: 3 and 4 it has got.
	p.SetReceived("r", at(4))
	u = p.CatchUp("r")
	h.Publish("r", kept(3))
	u.End(nil, Position{})
	h.Publish("r", kept(4))
	h.Publish("r", kept(5))
	p.has("1 2 5")
	// A member that leaves takes its positions along, and what is kept for it does not come.
	p.SetReceived("r", at(9))
	p.Leave("r")
	if n := p.catchingUp.Load(); n != 0 || p.Received() != nil {
		t.Errorf("%d are left: %v", n, p.Received())
	}
	for range 2 {
		p.enter("r")
		u = p.CatchUp("r")
		h.Publish("r", kept(6))
		p.Leave("r")
		u.End([]wire.Frame{kept(6)}, at(6))
	}
	if n := p.catchingUp.Load(); n != 0 || p.Keeping() {
		t.Errorf("%d are left", n)
	}
	p.has("")
}

// A catch-up that holds too much closes the member as a slow one.
func TestCatchUpBound(t *testing.T) {
	h := newHouse(t, Config{Flush: -1, OutboxBytes: 4 << 10})
	p := h.person("r")
	u := p.CatchUp("r")
	for i := range 3 {
		h.Publish("r", text(strings.Repeat(fmt.Sprint(i), 500)))
		if closed := p.closed.Code != 0; closed != (i == 2) {
			t.Errorf("%d: %v", i, p.closed)
		}
	}
	if p.closed != (wire.Close{Code: wire.CloseSlow, Reason: "slow"}) {
		t.Error(p.closed)
	}
	u.End(nil, Position{})
}

// Positions of another epoch begin anew, and who joins later gets what comes later.
func TestLiveFrom(t *testing.T) {
	h := newHouse(t, Config{Flush: -1})
	p := h.person("r")
	live := func(p *person, want Position) {
		t.Helper()
		if got := p.LiveFrom("r"); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	live(p, Position{})
	h.Publish("r", kept(7))
	h.Publish("r", kept(8))
	live(p, at(7))
	q := h.person("r")
	live(q, at(9))
	h.Publish("r", text("2").With(wire.Handling{Offset: 2, Epoch: "f"}))
	live(p, Position{2, "f"})
	live(q, Position{2, "f"})
	q.Leave("r")
	live(q, Position{})
	if got := p.LiveFrom("none"); got != (Position{}) {
		t.Error(got)
	}
}

// Missed pushes come before those that were published since, once to each member, also to one
// that catches up meanwhile.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Config{})
		if h.Hold("r", Position{}) != nil {
			t.Error("nobody is there")
		}
		first := h.person("r")
		if h.Hold("r", Position{}) != nil {
			t.Error("no position is known")
		}
		h.Publish("r", kept(1))
		if h.Gap("r", at(2)) || !h.Gap("r", at(3)) || h.Gap("r", Position{3, "f"}) || h.Gap("none", at(3)) {
			t.Error("gaps")
		}
		hold := h.Hold("r", Position{})
		if hold == nil || hold.From != at(1) || h.Hold("r", Position{}) != nil || hold.First() != (Position{}) || h.Gap("r", at(9)) {
			t.Fatalf("%+v", hold)
		}
		back := h.person() // it has got up to 3 from the history
		u := back.CatchUp("r")
		back.enter("r")
		h.Publish("r", text("plain"))
		h.Publish("r", kept(4))
		h.Publish("r", kept(5))
		if hold.First() != at(4) || hold.Bytes() == 0 {
			t.Errorf("%+v", hold.First())
		}
		u.End([]wire.Frame{kept(2), kept(3)}, at(3))
		hold.End([]wire.Frame{kept(2), kept(3), kept(4)}, at(4))
		hold.End([]wire.Frame{kept(2)}, Position{})
		if m := first.Received(); m["r"] != (Position{}) { // 5 lay beyond it
			t.Error(m)
		}
		h.SettleRooms()
		// Nothing was published since: up to 7 does not come again, not even after a move.
		hold = h.Hold("r", Position{})
		hold.End([]wire.Frame{kept(6), kept(7)}, at(7))
		if m := first.Received(); m["r"] != at(7) {
			t.Error(m)
		}
		for i := 6; i <= 8; i++ {
			h.Publish("r", kept(i))
		}
		h.SettleRooms()
		first.has("1 2 3 4 plain 5 6 7 8")
		back.has("2 3 4 plain 5 6 7 8")
	})
}

// A member that has come back to a quiet room knows a position.
func TestHoldFromMember(t *testing.T) {
	h := newHouse(t, Config{})
	a, b := h.person(), h.person()
	a.SetReceived("quiet", at(4))
	b.SetReceived("quiet", at(3))
	a.enter("quiet")
	b.enter("quiet")
	hold := h.Hold("quiet", Position{})
	if hold == nil || hold.From != at(3) {
		t.Fatalf("%+v", hold)
	}
	hold.End(nil, Position{})
}

// Members that join are notified of the newest position once: at once where it is known, else
// when it comes.
func TestNotices(t *testing.T) {
	notice := func(p Position) wire.Frame { return text(fmt.Sprint("at", p.Offset)) }
	join := func(p *person, want, ask bool) {
		t.Helper()
		if fresh, asks, err := p.JoinNotified("r", want, notice); !fresh || err != nil || asks != ask {
			t.Error(fresh, asks, err)
		}
	}
	h := newHouse(t, Config{Flush: -1})
	a, b := h.person(), h.person()
	join(a, false, true)
	join(b, false, false) // one has asked
	h.NoPosition("r")
	c := h.person()
	join(c, false, true)
	h.SetPosition("r", at(5), notice)
	h.SetPosition("r", at(4), notice) // it is known
	d := h.person()
	join(d, false, false)
	for _, p := range []*person{a, b, c, d} {
		p.has("at5")
	}
	h.Publish("r", kept(6))
	join(h.person(), false, false)
	h.people[4].has("at6")
	h.SetPosition("none", at(1), notice)
	h.NoPosition("none")
}

// A room that has kept nothing notifies only members that want it.
func TestNoticeOfOrigin(t *testing.T) {
	notice := func(p Position) wire.Frame { return text(fmt.Sprint("at", p.Offset)) }
	h := newHouse(t, Config{Flush: -1})
	a, b, c := h.person(), h.person(), h.person()
	_, _, _ = a.JoinNotified("r", false, notice)
	h.SetPosition("r", at(0), notice)
	a.has("")
	_, _, _ = b.JoinNotified("r", true, notice)
	b.has("at0")
	_, _, _ = c.JoinNotified("r", false, notice)
	c.has("at0") // somebody wants it
	a.has("")
}
