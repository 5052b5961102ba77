//go:build unix

package reload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/auth"
	"wsframe/framework/bus"
	"wsframe/framework/gateway"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/question"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/stream"
	"wsframe/framework/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience ends a wait that only a fault makes so long.
const patience = time.Minute

// worker is a process of a test: a real Hub, and parts that note their calls.
type worker struct {
	t    *testing.T
	hub  *hub.Hub
	cfg  Config
	onTo func(c *hub.Conn, text string) // called for each message; nil = it replies with the text

	suspendErr, adoptErr error
	handshakes           atomic.Int32
	next                 ask.Successor // set by Nodes.HandOver

	phpFile *os.File // a connection of PHP; nil = there is none

	mu    sync.Mutex
	calls []string
}

func newWorker(t *testing.T) *worker {
	w := &worker{t: t}
	w.hub = hub.New(w, hub.Config{})
	w.cfg = Config{
		Questions: &question.Book{}, Streams: noStreams{},
		Hub: w.hub, Sessions: sessions{}, Link: fakeLink{w}, Nodes: nodes{w}, Node: node{w}, Port: port{w}, Gateway: php{w}, Log: zap.NewNop(), Timeout: patience,
		Start: w.called("start"), GiveUp: w.called("give up"), End: w.called("end"), Running: func() string { return "hall.wait" },
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.hub.Drain(ctx, wire.CloseGoingAway, "test over", 0); err != nil {
			t.Error(err)
		}
		w.hub.Close()
	})
	return w
}

// php is the gateway of a worker, with one connection.
type php struct{ *worker }

func (p php) Freeze()                  { p.note("freeze") }
func (p php) Thaw()                    { p.note("thaw") }
func (p php) Release()                 { p.note("release") }
func (p php) Imported(*hub.Conn) error { return nil }

func (p php) Export() (peers []gateway.MovedPeer, state []byte) {
	if p.phpFile == nil {
		return nil, nil
	}
	file, err := dupFile(p.phpFile)
	if err != nil {
		p.t.Error(err)
		return nil, nil
	}
	return []gateway.MovedPeer{{File: file, State: []byte("a client")}}, []byte("all")
}

func (p php) Import(peers []gateway.MovedPeer, state []byte) {
	for _, one := range peers {
		p.note(fmt.Sprintf("php %s %s", one.State, state))
		_ = one.File.Close()
	}
}

func dupFile(f *os.File) (*os.File, error) {
	fd, err := syscall.Dup(int(f.Fd()))
	return os.NewFile(uintptr(fd), "copy"), err
}

func (w *worker) note(call string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, call)
}

func (w *worker) called(name string) func() { return func() { w.note(name) } }

func (w *worker) count(call string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c == call {
			n++
		}
	}
	return n
}

// wantOrder fails unless these calls were made, in this order, whatever others there were.
func (w *worker) wantOrder(calls ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.calls
	for _, call := range calls {
		i := slices.Index(rest, call)
		if i < 0 {
			w.t.Fatalf("no %q in its place of %q", call, w.calls)
		}
		rest = rest[i+1:]
	}
}

func (w *worker) Message(c *hub.Conn, data []byte) {
	if w.onTo != nil {
		w.onTo(c, string(data))
		return
	}
	say(c, string(data))
}

func (w *worker) Closed(*hub.Conn, int, string, []string) { w.note("closed") }

func say(c *hub.Conn, text string) { _ = c.Send(wire.TextFrame([]byte(text))) }

type sessions struct{}

func (sessions) Export(_ *hub.Conn, take func(json.RawMessage)) { take(json.RawMessage(`{}`)) }
func (sessions) Import(*hub.Conn, json.RawMessage) (*session.Session, error) {
	return &session.Session{}, nil
}
func (sessions) Begin(*hub.Conn) {}

type fakeLink struct{ w *worker }

func (l fakeLink) HandOver() bool { l.w.note("hand over"); return true }
func (l fakeLink) KeepServing()   { l.w.note("keep serving") }
func (l fakeLink) HandedOver()    { l.w.note("handed over") }
func (l fakeLink) Resume()        { l.w.note("resume link") }
func (l fakeLink) Detach()        { l.w.note("detach") }
func (l fakeLink) Suspend(context.Context) ([]byte, error) {
	l.w.note("suspend")
	return []byte(`"place"`), l.w.suspendErr
}

func (l fakeLink) Adopt(_ context.Context, state []byte) (func(time.Duration), error) {
	l.w.note("adopt " + string(state))
	return func(time.Duration) { l.w.note("take over") }, l.w.adoptErr
}
func (l fakeLink) Cursor() (string, bus.Cursor) { return "old", bus.Cursor{"#7"} }
func (l fakeLink) After(token string, c bus.Cursor, _ time.Duration, f func()) {
	l.w.note("after " + token + strings.Join(c, ","))
	f()
}
func (l fakeLink) AfterOwn(_ time.Duration, f func()) { f() }

type nodes struct{ w *worker }

func (n nodes) HandOver(s ask.Successor) { n.w.next = s }
func (n nodes) Inquire(i *ask.Inquiry, background *sync.WaitGroup, send func(ask.Findings)) {
	background.Go(func() { send(ask.Findings{ID: i.ID, Replies: []ask.Reply{{Count: 42}}}) })
}

type node struct{ w *worker }

func (n node) Flush(context.Context) error { return nil }
func (n node) Handed()                     { n.w.note("handed") }
func (n node) Adopted(int64)               { n.w.note("adopted") }
func (n node) Opened(cluster.Entry)        { n.w.note("opened") }

type port struct{ w *worker }

func (p port) Pause()          { p.w.note("pause") }
func (p port) Resume()         { p.w.note("resume port") }
func (p port) Handshakes() int { return int(p.w.handshakes.Load()) }
func (p port) Reserve(string)  { p.w.note("reserve") }
func (p port) Release(string)  { p.w.note("release") }

// client is the other end of a connection's socket.
type client struct {
	t    *testing.T
	conn net.Conn
}

// connect opens a connection of the worker, without a handshake.
func (w *worker) connect(fd int64, rooms ...string) *client {
	w.t.Helper()
	ours, theirs := socketPair(w.t)
	conn, err := net.FileConn(theirs)
	_ = theirs.Close()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	c, err := w.hub.Import(ours, hub.State{FD: fd, Auth: auth.Identity{}, Remote: "192.0.2.1", Since: time.Now(), Rooms: rooms}, func(c *hub.Conn) error {
		c.Data = &session.Session{}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	c.Begin(true)
	return &client{w.t, conn}
}

// socketPair returns two connected sockets, the first of them as a Hub wants it.
func socketPair(t *testing.T) (stream, other *os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "server"), os.NewFile(uintptr(fds[1]), "client")
}

func (c *client) send(text string) {
	c.t.Helper()
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // masked by 0
	if _, err := c.conn.Write(frame); err != nil {
		c.t.Fatal(err)
	}
}

// frame reads a frame of less than 126 bytes.
func (c *client) frame() (op byte, payload string) {
	c.t.Helper()
	var head [2]byte
	_, err := io.ReadFull(c.conn, head[:])
	b := make([]byte, head[1])
	if err == nil {
		_, err = io.ReadFull(c.conn, b)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return head[0] & 0xf, string(b)
}

func (c *client) want(text string) {
	c.t.Helper()
	if _, got := c.frame(); got != text {
		c.t.Fatalf("got %q, want %q", got, text)
	}
}

// memoryPipe is one end of a Pipe between two workers in this process.
type memoryPipe struct {
	in     chan message
	dead   chan struct{} // closed when the process at this end has died
	hungUp chan struct{}
	other  *memoryPipe
	claims *atomic.Int32   // offered and not taken
	before func(kind byte) // called with each message that is sent

	sockets  []hub.Stream
	phpFiles chan *os.File
	onceHup  sync.Once
	onceDie  sync.Once
}

type message struct {
	kind    byte
	body    []byte
	sockets []hub.Stream
}

func memoryPipes() (old, next *memoryPipe) {
	var claims atomic.Int32
	ends := [2]*memoryPipe{}
	for i := range ends {
		ends[i] = &memoryPipe{in: make(chan message, 1000), dead: make(chan struct{}), hungUp: make(chan struct{}), claims: &claims, phpFiles: make(chan *os.File, 9)}
	}
	ends[0].other, ends[1].other = ends[1], ends[0]
	return ends[0], ends[1]
}

var errDead = errors.New("a process has died")

// die ends the process at this end, as far as others can see.
func (p *memoryPipe) die() { p.onceDie.Do(func() { close(p.dead) }) }

func (p *memoryPipe) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

func (p *memoryPipe) Send(kind byte, body []byte, conns []*hub.Conn) error {
	if p.before != nil {
		p.before(kind)
	}
	if p.isDead() || p.other.isDead() {
		return errDead
	}
	m := message{kind: kind, body: slices.Clone(body)}
	for _, c := range conns {
		fd, err := syscall.Dup(c.Descriptor())
		if err != nil {
			return err
		}
		m.sockets = append(m.sockets, os.NewFile(uintptr(fd), "moved"))
	}
	p.other.in <- m
	return nil
}

func (p *memoryPipe) Receive(limit time.Duration) (byte, []byte, error) {
	var end <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		end = timer.C
	}
	if p.isDead() {
		return 0, nil, errDead
	}
	select { // the other one may have died after it had sent
	case m := <-p.in:
		return p.got(m)
	default:
	}
	select {
	case m := <-p.in:
		return p.got(m)
	case <-end:
		return 0, nil, os.ErrDeadlineExceeded
	case <-p.hungUp:
	case <-p.dead:
	case <-p.other.dead:
		select {
		case m := <-p.in:
			return p.got(m)
		default:
		}
	}
	return 0, nil, io.EOF
}

func (p *memoryPipe) got(m message) (byte, []byte, error) {
	p.sockets = append(p.sockets, m.sockets...)
	return m.kind, m.body, nil
}

func (p *memoryPipe) SendFiles(kind byte, body []byte, files []*os.File) error {
	if err := p.Send(kind, body, nil); err != nil {
		return err
	}
	for _, f := range files {
		file, err := dupFile(f)
		if err != nil {
			return err
		}
		p.other.phpFiles <- file
	}
	return nil
}

func (p *memoryPipe) File() (*os.File, error) { return <-p.phpFiles, nil }

func (p *memoryPipe) HangUp() { p.onceHup.Do(func() { close(p.hungUp) }) }

func (p *memoryPipe) Socket() (hub.Stream, error) {
	if len(p.sockets) == 0 {
		return nil, errors.New("a descriptor is missing")
	}
	s := p.sockets[0]
	p.sockets = p.sockets[1:]
	return s, nil
}

func (p *memoryPipe) Hello(body []byte) error { return p.Send(msgHello, body, nil) }
func (p *memoryPipe) Prepare(int)             {}

func (p *memoryPipe) Offer() error {
	p.claims.Add(1)
	return nil
}

func (p *memoryPipe) Claim() bool {
	if p.isDead() {
		return false
	}
	for {
		n := p.claims.Load()
		if n == 0 {
			return false
		}
		if p.claims.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// transfer is a move between two workers that is under way.
type transfer struct {
	old, next         *worker
	oldPipe, nextPipe *memoryPipe
	cancel            context.CancelFunc // ends the old worker's patience with its actions

	handed, serving  chan struct{} // closed by the callbacks
	sent, received   chan struct{} // closed at the end of both sides
	gave, got        api.Moved
	sendErr, recvErr error
}

// prepare makes two workers. The test may change them before begin.
func prepare(t *testing.T) *transfer {
	x := &transfer{old: newWorker(t), next: newWorker(t)}
	x.handed, x.serving, x.sent, x.received = make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	x.oldPipe, x.nextPipe = memoryPipes()
	return x
}

func (x *transfer) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	x.cancel = cancel
	x.old.t.Cleanup(cancel)
	go func() {
		defer close(x.sent)
		x.gave, x.sendErr = Send(ctx, x.old.cfg, x.oldPipe, func(int) { close(x.handed) })
		x.oldPipe.die() // it sends nothing more
	}()
	go func() {
		defer close(x.received)
		x.got, x.recvErr = Receive(x.next.cfg, x.nextPipe, func() { close(x.serving) })
		x.nextPipe.die()
	}()
}

func (x *transfer) wait(what string, c <-chan struct{}) {
	x.old.t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		x.old.t.Fatalf("waited in vain: %s", what)
	}
}

// end waits for both sides.
func (x *transfer) end() {
	x.old.t.Helper()
	x.wait("the sender's end", x.sent)
	x.wait("the receiver's end", x.received)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// noStreams has none.
type noStreams struct{}

func (noStreams) Export() ([]stream.Moved, []*os.File, error) { return nil, nil, nil }
func (noStreams) Thaw()                                       {}
func (noStreams) Release()                                    {}
func (noStreams) Import([]stream.Moved, []*os.File)           {}
func (noStreams) Producing() int                              { return 0 }
