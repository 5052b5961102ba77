package workers

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"wsframe/framework/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var local = netip.MustParseAddr("127.0.0.1")

// fakeWorker is the connection of a BusinessWorker. It reads at once, unless it is slow.
type fakeWorker struct {
	mu      sync.Mutex
	slow    bool
	got     []byte // sent
	taken   int    // of got: returned by take
	closed  bool
	written func(int)
	events  gateway.WorkerEvents
}

func (w *fakeWorker) Send(frames []byte) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, frames...)
	if w.slow {
		return len(w.got) - w.taken
	}
	return 0
}

func (w *fakeWorker) OnWritten(f func(int)) { w.written = f }

func (w *fakeWorker) Close() {
	w.closed = true
	w.events.Gone()
}

// take returns the frames that were sent since the last call, one a line: the command, the client
// and what belongs to it.
func (w *fakeWorker) take() string {
	w.mu.Lock()
	b := w.got[w.taken:]
	w.taken = len(w.got)
	w.mu.Unlock()
	var text strings.Builder
	for len(b) > 0 {
		ext := b[headerSize : headerSize+binary.BigEndian.Uint32(b[24:])]
		size := binary.BigEndian.Uint32(b)
		body := b[headerSize+len(ext) : size]
		if gateway.Command(b[4]) == gateway.EventWebSocketConnect {
			body = nil
		}
		fmt.Fprintf(&text, "%s %d %s%s\n", eventNames[gateway.Command(b[4])], binary.BigEndian.Uint32(b[17:]), ext, body)
		b = b[size:]
	}
	return text.String()
}

// fakeConn is a client's connection.
type fakeConn struct {
	id      uint32
	session []byte
	paused  bool
	events  gateway.ConnEvents

	mu   sync.Mutex
	sent []string
	code int // of Close
}

func (c *fakeConn) ID() uint32      { return c.id }
func (c *fakeConn) Session() []byte { return c.session }
func (c *fakeConn) Pause()          { c.paused = true }
func (c *fakeConn) Resume()         { c.paused = false }
func (c *fakeConn) Send(m gateway.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, string(m.Payload))
}
func (c *fakeConn) Close(code int, _ string) {
	c.mu.Lock()
	c.code = code
	c.mu.Unlock()
	c.events.Closed(c.session)
}

// seen returns the number of messages and the close code.
func (c *fakeConn) seen() (sent, code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sent), c.code
}

func (c *fakeConn) say(text string) { c.events.Message([]byte(text)) }

// rig is a Table with its workers and clients.
type rig struct {
	*testing.T
	*Table
}

func newRig(t *testing.T, c Config) rig { return rig{t, New(c)} }

func (r rig) worker(key string) *fakeWorker {
	w := &fakeWorker{}
	w.events = r.Connect(key, local, w)
	return w
}

func (r rig) open(id uint32) *fakeConn {
	c := &fakeConn{id: id}
	c.events = r.Open(c, gateway.Opening{})
	return c
}

func (r rig) got(w *fakeWorker, want ...string) {
	r.Helper()
	if len(want) > 0 {
		want = append(want, "")
	}
	if got := w.take(); got != strings.Join(want, "\n") {
		r.Errorf("worker got %q, want %q", got, want)
	}
}

// recorded is one segment between the original gateway and its worker.
type recorded struct {
	N    int
	Step string
	To   string
	Hex  string
}

// All recorded frames of a worker's connection are the same, with the two fields behind
// QUERY_STRING that later versions have.
func TestRecordedWorker(t *testing.T) {
	r := newRig(t, Config{Gateway: netip.MustParseAddrPort("127.0.0.1:12900")})
	w := r.worker("B:0")
	var conn *fakeConn
	opened := map[string]string{}
	b, err := os.ReadFile("testdata/worker.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	steps := 0
	for lines.Scan() {
		var step recorded
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			t.Fatal(err)
		}
		segment, err := hex.DecodeString(step.Hex)
		switch {
		case err != nil:
			t.Fatal(err)
		case step.To == "gateway" && len(segment) > 4 && segment[4] == 204:
			conn.session = segment[headerSize:]
		case step.N == 0 || step.To != "worker" || eventNames[gateway.Command(segment[4])] == "":
			continue // Workerman 5's form, commands and answers
		}
		for step.To == "worker" && len(segment) > 4 && binary.BigEndian.Uint32(segment) <= uint32(len(segment)) {
			frame := segment[:binary.BigEndian.Uint32(segment)]
			segment = segment[len(frame):]
			steps++
			body := string(frame[headerSize+binary.BigEndian.Uint32(frame[24:]):])
			remote := netip.AddrPortFrom(local, binary.BigEndian.Uint16(frame[15:]))
			switch gateway.Command(frame[4]) {
			case gateway.EventConnect:
				conn = &fakeConn{id: binary.BigEndian.Uint32(frame[17:])}
				if opened[step.Step] = string(frame); step.Step != "tcp_only" {
					continue // it is compared with the next frame
				}
			case gateway.EventWebSocketConnect:
				conn.events = r.Open(conn, gateway.Opening{
					Remote: remote, Port: 17272, Method: "GET", Proto: "HTTP/1.1", URI: between(body, `REQUEST_URI";s:`), Header: headers(body),
				})
				frame = append([]byte(opened[step.Step]), frame...)
			case gateway.EventMessage:
				conn.say(body)
			case gateway.EventClose:
				if step.Step != "tcp_only" {
					conn.events.Closed(conn.session)
				}
			}
			if step.Step == "tcp_only" {
				continue // a connection without a handshake is no client here
			}
			got := w.got[w.taken:]
			w.taken = len(w.got)
			if want := withRemote(frame, remote); !bytes.Equal(got, want) {
				t.Errorf("%d %s: %q, want %q", step.N, step.Step, got, want)
			}
		}
	}
	if steps < 24 || r.workers[0].clients != 0 {
		t.Errorf("%d steps, %d clients are left", steps, r.workers[0].clients)
	}
}

// between returns the serialized string that follows a mark.
func between(text, mark string) string {
	_, text, _ = strings.Cut(text, mark)
	_, text, _ = strings.Cut(text, `"`)
	text, _, _ = strings.Cut(text, `"`)
	return text
}

// headers returns the headers of a recorded event.
func headers(body string) (list []gateway.HeaderField) {
	for i := strings.Index(body, `"HTTP_`); i >= 0; i = strings.Index(body, `"HTTP_`) {
		body = body[i+len(`"HTTP_`):]
		name, _, _ := strings.Cut(body, `"`)
		list = append(list, gateway.HeaderField{Name: strings.ReplaceAll(name, "_", "-"), Value: between(body, `";s:`)})
	}
	return list
}

// withRemote adds REMOTE_ADDR and REMOTE_PORT to the event of a handshake.
func withRemote(frames []byte, remote netip.AddrPort) []byte {
	head, tail, ok := bytes.Cut(frames, []byte(`s:6:"cookie"`))
	if !ok {
		return frames
	}
	head = head[:len(head)-1] // the end of server
	before, count, _ := bytes.Cut(head, []byte(`"server";a:`))
	count, after, _ := bytes.Cut(count, []byte(":"))
	n, _ := strconv.Atoi(string(count))
	head = fmt.Appendf(nil, `%s"server";a:%d:%s`, before, n+2, after)
	head = fmt.Appendf(head, `s:11:"REMOTE_ADDR";s:9:"127.0.0.1";s:11:"REMOTE_PORT";i:%d;}`, remote.Port())
	frames = append(append(head, `s:6:"cookie"`...), tail...)
	second := bytes.Index(frames, []byte{205})
	binary.BigEndian.PutUint32(frames[second-4:], uint32(len(frames)-second+4))
	return frames
}

// A client goes to the worker with the fewest clients, and stays with it until either ends.
func TestAssignment(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.worker("A"), r.worker("B")
	one, two, three := r.open(1), r.open(2), r.open(3)
	r.got(a, "connect 1 ", "websocket_connect 1 ", "connect 3 ", "websocket_connect 3 ")
	r.got(b, "connect 2 ", "websocket_connect 2 ")
	c := r.worker("C")
	three.session = []byte("S")
	three.say("x")
	r.got(a, "message 3 Sx")
	a.events.Gone()
	one.say("y") // B has one client, C none
	one.say("")
	three.say("z")
	two.events.Closed([]byte("last"))
	r.got(c, "message 1 y", "message 1 ")
	r.got(b, "message 3 Sz", "close 2 last")
	r.got(a)
	again := r.worker("C")
	if !c.closed {
		t.Error("a worker of the same key stays")
	}
	one.events.Closed(nil)
	r.got(again, "close 1 ")
	far := &fakeWorker{}
	far.events = r.Connect("B", netip.MustParseAddr("10.0.0.1"), far)
	if b.closed || len(r.workers) != 3 || r.workers[0].clients != 1 {
		t.Error(r.workers)
	}
	if s := r.Stats(); len(s.Workers) != 3 || s.Workers[2].Key != "10.0.0.1:B" || s.Events["message"] != 4 || s.Events["close"] != 2 || s.Waiting+int(s.Dropped) != 0 {
		t.Errorf("%+v", s)
	}
}

// Without a worker, events wait for Config.Wait.
func TestNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		one := r.open(1)
		one.say("read already")
		time.Sleep(time.Second)
		two := r.open(2)
		if !one.paused || !two.paused || r.Unavailable() != "" || r.Stats().Waiting != 2 {
			t.Error("clients are read", r.Stats())
		}
		w := r.worker("A")
		r.got(w, "connect 1 ", "websocket_connect 1 ", "message 1 read already", "connect 2 ", "websocket_connect 2 ")
		if one.paused || two.paused {
			t.Error("clients are not read")
		}
		w.events.Gone()
		one.say("x")
		gone := r.open(3)
		gone.events.Closed([]byte("S"))
		time.Sleep(10*time.Second - time.Millisecond)
		synctest.Wait()
		if one.code != 0 || r.Unavailable() != "" {
			t.Error("too early")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if one.code != closeTryAgain || one.paused || two.code != 0 || r.Unavailable() == "" || r.gone.count != 1 {
			t.Error(one, two, r.Unavailable(), r.gone)
		}
		one.say("dropped")
		w = r.worker("A")
		r.got(w, "close 1 ")
		two.say("y")
		r.got(w, "message 2 y")
		if r.gone != (departed{}) || r.Unavailable() != "" {
			t.Error(r.gone)
		}
	})
}

// What waits of clients that have gone is bounded in number and size, and in time.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		w := r.worker("A")
		known := make([]*fakeConn, maxGone+5)
		for i := range known {
			known[i] = r.open(uint32(i + 1))
		}
		w.events.Gone()
		session := bytes.Repeat([]byte("S"), maxGoneBytes/100)
		for _, c := range known[:150] {
			c.events.Closed(session)
		}
		r.open(99999).events.Closed(nil) // no worker knows it, and there is no room
		for _, c := range known[150:] {
			c.events.Closed(nil)
		}
		if r.gone.count != maxGone || r.gone.bytes > maxGoneBytes || r.Stats().Waiting != maxGone {
			t.Error(r.gone, r.Stats())
		}
		w = r.worker("A")
		text := w.take()
		if strings.Count(text, "close ") != maxGone || strings.Count(text, "S\n") != 100 || r.gone != (departed{}) {
			t.Error(strings.Count(text, "close "), strings.Count(text, "S\n"), r.gone)
		}
		c := r.open(1)
		w.events.Gone()
		c.events.Closed(session)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := r.Stats(); r.gone != (departed{}) || s.Waiting != 0 {
			t.Error(r.gone, s)
		}
	})
}

// A slow worker keeps its clients from being read, and the others go on.
func TestSlowWorker(t *testing.T) {
	r := newRig(t, Config{})
	slow, fast := r.worker("A"), r.worker("B")
	one, two, three := r.open(1), r.open(2), r.open(3)
	r.got(slow, "connect 1 ", "websocket_connect 1 ", "connect 3 ", "websocket_connect 3 ")
	slow.slow = true
	big := strings.Repeat("x", 1<<20)
	n := 0
	for ; !one.paused; n++ {
		one.say(big)
	}
	three.say("three")
	two.say("two")
	if n != 10 || !three.paused || two.paused || r.workers[0].waits > maxWaiting {
		t.Error(n, three.paused, two.paused, r.workers[0].waits)
	}
	three.events.Closed([]byte("S"))
	if got := strings.Count(slow.take(), "message 1 xxx"); got != n-1 {
		t.Error(got, n)
	}
	slow.written(0)
	r.got(slow, "message 1 "+big, "message 3 Sthree", "close 3 S")
	if one.paused || r.gone != (departed{}) {
		t.Error(one.paused, r.gone)
	}
	for !one.paused {
		one.say(big)
	}
	slow.events.Gone()
	if got := fast.take(); strings.Count(got, "message 1 xxx") != 1 || one.paused {
		t.Errorf("%.100q %v", got, one.paused)
	}
}
