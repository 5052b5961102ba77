package socketio

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"wsframe/framework/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBackend stands for the server behind an Engine.
type fakeBackend struct {
	full   bool // refuses all
	closed bool // origins but http://o.test

	mu    sync.Mutex
	conns []*fakeConn
}

func (b *fakeBackend) Allowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return !b.closed || origin == "" || origin == "http://o.test"
}

func (b *fakeBackend) Open(w http.ResponseWriter, r *http.Request, version int, ended func()) (Conn, bool) {
	if b.full || !b.Allowed(r) {
		http.Error(w, "refused", http.StatusForbidden)
		return nil, false
	}
	c, _ := b.open(version, ended)
	return c, true
}

func (b *fakeBackend) open(version int, ended func()) (Conn, error) {
	if b.full {
		return nil, errors.New("full")
	}
	c := &fakeConn{d: NewDialogue(version), ended: ended, wake: make(chan struct{})}
	if g := Greeting(version); g != nil {
		c.queue = append(c.queue, g)
	}
	b.mu.Lock()
	b.conns = append(b.conns, c)
	b.mu.Unlock()
	return c, nil
}

func (b *fakeBackend) last() *fakeConn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conns[len(b.conns)-1]
}

// fakeConn keeps what comes and what is to be sent.
type fakeConn struct {
	ended func()

	mu      sync.Mutex
	d       Dialogue
	queue   [][]byte
	wake    chan struct{} // closed at a change
	over    bool
	taken   bool // the packet Close was taken
	code    int
	socket  net.Conn
	got     []string // events
	touched int
	block   chan struct{} // Receive waits for it
	busy    bool
}

func (c *fakeConn) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.wake)
	c.wake = make(chan struct{})
}

// push sends a packet to the client.
func (c *fakeConn) push(packet string) {
	c.change(func() {
		if c.socket != nil {
			_, _ = c.socket.Write(wire.TextFrame([]byte(packet)).Bytes)
			return
		}
		c.queue = append(c.queue, []byte(packet))
	})
}

func (c *fakeConn) Take(ctx context.Context, limit int) ([][]byte, error) {
	for {
		c.mu.Lock()
		packets, wake, over, taken, attached := c.queue, c.wake, c.over, c.taken, c.socket != nil
		switch {
		case attached:
			c.mu.Unlock()
			return nil, ErrAttached
		case ctx.Err() != nil:
			c.mu.Unlock()
			return nil, ctx.Err()
		case len(packets) > 0 || over && !taken:
			n := 0
			for size := 0; n < len(packets) && (n == 0 || size+len(packets[n]) <= limit); n++ {
				size += len(packets[n])
			}
			packets, c.queue = packets[:n:n], packets[n:]
			if over && len(c.queue) == 0 {
				packets, c.taken = append(packets, []byte{Close}), true
			}
			c.mu.Unlock()
			return packets, nil
		}
		c.mu.Unlock()
		if taken {
			return nil, ErrEnded
		}
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
}

func (c *fakeConn) Receive(packets [][]byte) error {
	c.mu.Lock()
	block, state := c.block, error(nil)
	switch {
	case c.busy:
		state = ErrBusy
	case c.socket != nil:
		state = ErrAttached
	case c.over:
		state = ErrEnded
	}
	c.busy = c.busy || state == nil
	c.mu.Unlock()
	if state != nil {
		return state
	}
	if block != nil {
		<-block
	}
	for _, p := range packets {
		c.packet(p)
	}
	c.mu.Lock()
	c.busy = false
	c.mu.Unlock()
	return nil
}

func (c *fakeConn) packet(p []byte) {
	c.mu.Lock()
	s := c.d.Packet(p, 16)
	if s.Event != "" && !c.over {
		text := s.Event
		for _, a := range s.Arguments {
			text += " " + string(a)
		}
		c.got = append(c.got, text)
	}
	c.mu.Unlock()
	if s.Answer != nil {
		c.push(string(s.Answer))
	}
	if s.Code != 0 {
		c.Close(s.Code, s.Reason)
	}
}

func (c *fakeConn) events() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

func (c *fakeConn) Attach(socket net.Conn, early []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.socket != nil:
		return ErrAttached
	case c.over:
		return ErrEnded
	case c.busy:
		return ErrBusy
	}
	for _, p := range c.queue {
		_, _ = socket.Write(wire.TextFrame(p).Bytes)
	}
	c.queue, c.socket = nil, socket
	close(c.wake)
	c.wake = make(chan struct{})
	r := &probe{nc: socket, read: bytes.Clone(early)}
	go func() {
		for {
			op, payload, err := r.frame()
			if err != nil || op == wire.OpClose {
				_ = socket.Close()
				c.ended()
				return
			}
			c.packet(payload)
		}
	}()
	return nil
}

func (c *fakeConn) Touch() { c.change(func() { c.touched++ }) }

func (c *fakeConn) Close(code int, _ string) {
	c.change(func() {
		if c.over {
			return
		}
		c.over, c.code = true, code
		if c.socket != nil {
			_ = c.socket.Close()
			return
		}
		go c.ended()
	})
}

// closed returns the code with which the connection was closed, 0 = it is open.
func (c *fakeConn) closed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code
}

// rig is an Engine, and clients that need no network.
type rig struct {
	t *testing.T
	b *fakeBackend
	e *Engine
}

// inBubble runs a test whose time is synctest's. Nothing may be left at its end.
func inBubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBackend{}
		r := &rig{t, b, New(Config{Backend: b, MessageBytes: 1000})}
		f(t, r)
		for _, c := range b.conns {
			c.Close(wire.CloseGoingAway, "")
		}
		r.e.Close()
		time.Sleep(time.Minute)
		if n := r.e.Sessions(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// pending is a request that may not be answered yet.
type pending struct {
	*httptest.ResponseRecorder
	request *http.Request
	cancel  context.CancelFunc
	done    chan struct{}
}

// answered reports whether the answer has come.
func (p *pending) answered() bool {
	synctest.Wait()
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// send begins a request. target is the query, with or without the path.
func (r *rig) send(method, target, body string, header ...string) *pending {
	if !strings.HasPrefix(target, "/") {
		target = "/socket.io/?" + target
	}
	ctx, cancel := context.WithCancel(context.Background())
	req := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return r.serve(req, cancel)
}

func (r *rig) serve(req *http.Request, cancel context.CancelFunc) *pending {
	p := &pending{httptest.NewRecorder(), req, cancel, make(chan struct{})}
	go func() {
		defer cancel()
		defer close(p.done)
		r.e.ServeHTTP(p.ResponseRecorder, req)
	}()
	return p
}

// do makes a request that is answered at once.
func (r *rig) do(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	p := r.send(method, target, body, header...)
	if !p.answered() {
		r.t.Fatalf("%s %s is not answered", method, target)
	}
	return p.ResponseRecorder
}

// want fails the test unless a response has this status and body.
func (r *rig) want(w *httptest.ResponseRecorder, status int, body string) {
	r.t.Helper()
	if w.Code != status || w.Body.String() != body {
		r.t.Errorf("%d %q, want %d %q", w.Code, w.Body, status, body)
	}
}

// open begins a session that polls, and returns what further requests have in their query.
func (r *rig) open(version string) (query string, c *fakeConn) {
	r.t.Helper()
	w := r.do("GET", "EIO="+version+"&transport=polling&b64=1", "")
	_, sid, ok := strings.Cut(w.Body.String(), `"sid":"`)
	if w.Code != 200 || !ok {
		r.t.Fatalf("%d %q", w.Code, w.Body)
	}
	return "EIO=" + version + "&transport=polling&sid=" + sid[:24], r.b.last()
}

// socketClient is the client's side of a WebSocket.
type socketClient struct {
	t    *testing.T
	nc   net.Conn
	done chan struct{} // the server has closed it

	mu     sync.Mutex
	head   string // of the response
	frames []string
}

// handshake begins a WebSocket. early is sent together with the request.
func (r *rig) handshake(target string, early ...byte) *socketClient {
	if !strings.HasPrefix(target, "/") {
		target = "/socket.io/?" + target
	}
	req := httptest.NewRequest("GET", target, nil)
	req.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	return r.shake(req, early)
}

func (r *rig) shake(req *http.Request, early []byte) *socketClient {
	near, far := net.Pipe()
	h := Handshake{Socket: far, Request: req, Early: early}
	if SID(req) == "" {
		h.Open = r.b.open
	}
	s := &socketClient{t: r.t, nc: near, done: make(chan struct{})}
	go s.readAll()
	r.e.WebSocket(h)
	clear(early) // it is valid until WebSocket returns
	synctest.Wait()
	return s
}

func (s *socketClient) readAll() {
	defer close(s.done)
	defer s.nc.Close()
	br := bufio.NewReader(s.nc)
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		b, err := br.ReadByte()
		if err != nil {
			return
		}
		head.WriteByte(b)
	}
	s.mu.Lock()
	s.head = head.String()
	s.mu.Unlock()
	if !strings.Contains(head.String(), " 101 ") {
		body, _ := io.ReadAll(br)
		s.add(string(body))
		return
	}
	for {
		var h [2]byte
		if _, err := io.ReadFull(br, h[:]); err != nil {
			return
		}
		n := int(h[1])
		if n == 126 {
			var l [2]byte
			_, _ = io.ReadFull(br, l[:])
			n = int(l[0])<<8 | int(l[1])
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(br, payload); err != nil {
			return
		}
		switch h[0] & 15 {
		case wire.OpText:
			s.add(string(payload))
		case wire.OpClose:
			s.add("close")
		case wire.OpPong:
			s.add("pong")
		}
	}
}

func (s *socketClient) add(frame string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames = append(s.frames, frame)
}

// clientFrame encodes a frame as clients do.
func clientFrame(op byte, text string) []byte {
	b := []byte{wire.Final | op, 0x80 | byte(len(text)), 1, 2, 3, 4}
	for i := range len(text) {
		b = append(b, text[i]^b[2+i%4])
	}
	return b
}

func (s *socketClient) send(texts ...string) {
	var b []byte
	for _, text := range texts {
		b = append(b, clientFrame(wire.OpText, text)...)
	}
	_, _ = s.nc.Write(b) // the server may have closed it
	synctest.Wait()
}

// read returns the frames that have come since the last call.
func (s *socketClient) read() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	frames := s.frames
	s.frames = nil
	return frames
}

// want fails the test unless these frames have come.
func (s *socketClient) want(frames ...string) {
	s.t.Helper()
	if got := s.read(); !slices.Equal(got, frames) {
		s.t.Errorf("frames %q, want %q", got, frames)
	}
}

// gone reports whether the server has closed it.
func (s *socketClient) gone() bool {
	synctest.Wait()
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
