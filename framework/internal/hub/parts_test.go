package hub

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"wsframe/framework/internal/wire"
)

func waiting(q *queue) string {
	var texts []string
	for _, k := range q.chunks {
		texts = append(texts, string(k.b))
	}
	return strings.Join(texts, " ")
}

// Droppable frames are dropped oldest first, newer values replace older ones, and the others stay
// in order.
func TestQueueClasses(t *testing.T) {
	var q queue
	old, value := &wire.Handling{Class: wire.DropOldest}, &wire.Handling{Class: wire.Latest, Key: "v"}
	for _, k := range []struct {
		b string
		x *wire.Handling
	}{{"must", nil}, {"old1", old}, {"val1", value}, {"old2", old}} {
		q.add([]byte(k.b), 1, true, k.x)
	}
	if !q.replace([]byte("value2"), 1, value) || q.replace([]byte("w"), 1, &wire.Handling{Class: wire.Latest, Key: "w"}) {
		t.Error("replaced")
	}
	if q.load != (load{18, 4}) || waiting(&q) != "must old1 value2 old2" {
		t.Errorf("%+v %s", q.load, waiting(&q))
	}
	if ok, dropped := q.makeRoom(4, 1, load{18, 9}); !ok || dropped != 1 || waiting(&q) != "must value2 old2" {
		t.Error(ok, dropped, waiting(&q))
	}
	if ok, dropped := q.makeRoom(4, 1, load{7, 9}); ok || dropped != 2 || waiting(&q) != "must" || q.load != (load{4, 1}) {
		t.Error(ok, dropped, waiting(&q))
	}
}

// Unwritten chunks return to the front, and a partly written one is neither dropped nor replaced.
func TestQueueTake(t *testing.T) {
	var q queue
	x := &wire.Handling{Class: wire.Latest, Key: "k"}
	for i := range 70 {
		q.add(fmt.Appendf(nil, "%02d", i), 1, true, x)
	}
	bufs, taken := q.dequeue(nil)
	if len(bufs) != 64 || len(taken) != 64 || len(q.chunks) != 6 {
		t.Fatal(len(bufs), len(taken), len(q.chunks))
	}
	q.bytes -= 5
	q.putBack(taken, 5)
	if q.load != (load{135, 68}) || len(q.chunks) != 68 || string(q.chunks[0].b) != "2" || q.chunks[0].x != nil || q.chunks[1].x != x {
		t.Errorf("%+v, %d, %s", q.load, len(q.chunks), q.chunks[0].b)
	}
	q.drop()
	small := []byte("small")
	q.add(small, 1, false, nil)
	q.add(small, 1, false, nil)
	if copy(small, "xxxxx"); waiting(&q) != "smallsmall" || q.load != (load{10, 2}) {
		t.Error(waiting(&q))
	}
}

// Frames that come during a hold do not count against the peer, even after a move.
func TestQueueHeld(t *testing.T) {
	limit := load{10, 2}
	var q queue
	q.add([]byte("12345"), 1, true, nil)
	q.hold()
	if q.limit(limit) != (load{80, 16}) {
		t.Error(q.limit(limit))
	}
	q.add([]byte("123456789"), 3, true, &wire.Handling{Class: wire.DropOldest})
	q.held = false
	if q.limit(limit) != (load{19, 5}) {
		t.Error(q.limit(limit))
	}
	var s State
	q.export(&s)
	var to queue
	to.restore(&s, limit)
	if to.load != q.load || waiting(&to) != waiting(&q) || to.extra != limit || !to.chunks[1].x.Droppable() || to.chunks[0].x.Droppable() {
		t.Errorf("%+v", to)
	}
}

func frame(first byte, payload string) []byte { return frameBytes(first, []byte(payload)) }

func newFrames(cfg Config) *frames {
	cfg.fill()
	f := &frames{cfg: &cfg}
	f.tokens = 1e9
	return f
}

// Complete frames are found however the bytes are cut, and fragments of an unfinished message are
// kept.
func TestFramesInPieces(t *testing.T) {
	all := bytes.Join([][]byte{frame(0x81, "one"), frame(0x01, "tw"), frame(0x89, "ping"), frame(0x80, "o"), frame(0x02, "begun")}, nil)
	for n := 1; n < len(all); n++ {
		f := newFrames(Config{})
		for rest := all; len(rest) > 0; rest = rest[min(n, len(rest)):] {
			f.receive(rest[:min(n, len(rest))])
		}
		if f.ready != len(all) || f.fault != (wire.Close{}) || !f.begun || f.size != 5 || f.fragments != 1 || !bytes.Equal(f.parts, frame(0x02, "begun")) {
			t.Fatalf("%d: %+v", n, f)
		}
		f.off = f.ready
		f.keep()
		if len(f.buf) != 0 || f.more() {
			t.Error("something is left")
		}
	}
}

func TestFrameFaults(t *testing.T) {
	for name, test := range map[string]struct {
		b    []byte
		code int
	}{
		"reserved bits":  {frame(0xC1, "x"), wire.CloseProtocolError},
		"too large":      {[]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, wire.CloseTooLarge},
		"sum too large":  {append(frame(0x01, "1234567"), frame(0x80, "1234567")...), wire.CloseTooLarge},
		"fragments":      {bytes.Join([][]byte{frame(0x01, ""), frame(0, ""), frame(0, "")}, nil), wire.ClosePolicy},
		"continuation":   {frame(0x80, "x"), wire.CloseProtocolError},
		"unmasked":       {[]byte{0x81, 1, 'x'}, wire.CloseProtocolError},
		"long control":   {frame(0x89, strings.Repeat("x", 126)), wire.CloseProtocolError},
		"good":           {frame(0x81, "1234567890"), 0},
		"compressed":     {frame(0xC1, "x"), 0},
		"control is not": {frame(0xC9, "x"), wire.CloseProtocolError},
	} {
		f := newFrames(Config{MessageBytes: 10, Fragments: 2})
		f.deflate = name == "compressed" || name == "control is not"
		f.receive(test.b)
		if f.fault.Code != test.code {
			t.Errorf("%s: %+v", name, f.fault)
		}
	}
}

// Silent clients save up the burst at most, and time without reading does not count against them.
func TestAllowance(t *testing.T) {
	now := time.Unix(1, 0)
	cfg := Config{MessageRate: 10, MessageBurst: 20, now: func() time.Time { return now }}
	cfg.fill()
	var k clock
	k.init(now)
	pass := func(d time.Duration) {
		now = now.Add(d)
		k.tick(now)
	}
	var a allowance
	a.init(&cfg, &k)
	want := func(tokens float64) {
		t.Helper()
		a.refill(&cfg, &k, true)
		if diff := a.tokens - tokens; diff > 1e-6 || diff < -1e-6 {
			t.Errorf("%v, want %v", a.tokens, tokens)
		}
	}
	pass(time.Second)
	want(20)
	a.tokens = 0
	pass(time.Second / 2)
	want(5)
	for range 5 { // an action runs for 5 s
		pass(time.Second)
	}
	a.listens(&cfg, &k)
	want(55)
	pass(time.Second + time.Millisecond)
	want(20)
}
