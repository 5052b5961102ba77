package accept

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"wsframe/framework/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// duplex is one end of a connection in memory. Its directions end one by one, as those of TCP do.
type duplex struct {
	in, out net.Conn
	peer    *net.TCPAddr
	closed  atomic.Bool
	hurried atomic.Bool // a read has a deadline
}

// connect gives both ends of a connection from that address.
func connect(address string) (client, server *duplex) {
	toServer, fromClient := net.Pipe()
	toClient, fromServer := net.Pipe()
	here := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
	return &duplex{in: toClient, out: toServer, peer: here},
		&duplex{in: fromClient, out: fromServer, peer: &net.TCPAddr{IP: net.ParseIP(address), Port: 4711}}
}

func (d *duplex) Read(b []byte) (int, error)  { return d.in.Read(b) }
func (d *duplex) Write(b []byte) (int, error) { return d.out.Write(b) }
func (d *duplex) CloseWrite() error           { return d.out.Close() }
func (d *duplex) LocalAddr() net.Addr         { return &net.TCPAddr{} }
func (d *duplex) RemoteAddr() net.Addr        { return d.peer }

func (d *duplex) SetReadDeadline(t time.Time) error {
	d.hurried.Store(!t.IsZero())
	return d.in.SetReadDeadline(t)
}

func (d *duplex) SetWriteDeadline(t time.Time) error { return d.out.SetWriteDeadline(t) }

func (d *duplex) SetDeadline(t time.Time) error {
	return errors.Join(d.SetReadDeadline(t), d.SetWriteDeadline(t))
}

func (d *duplex) Close() error {
	d.closed.Store(true)
	return errors.Join(d.in.Close(), d.out.Close())
}

// listener gives what is put into conns: connections, or errors.
type listener struct {
	conns  chan any
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	expired chan struct{} // closed while the deadline is over
}

func newListener() *listener {
	return &listener{conns: make(chan any), closed: make(chan struct{}), expired: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	expired := l.expired
	l.mu.Unlock()
	select {
	case <-expired: // first: a deadline counts whatever waits
		return nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case v := <-l.conns:
		if err, ok := v.(error); ok {
			return nil, err
		}
		return v.(net.Conn), nil
	case <-expired:
		return nil, os.ErrDeadlineExceeded
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.expired:
		if t.IsZero() {
			l.expired = make(chan struct{})
		}
	default:
		if !t.IsZero() {
			close(l.expired)
		}
	}
	return nil
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// running is a Server that accepts the token "good" and answers accepted clients with a bare 101.
type running struct {
	*Server
	t      *testing.T
	ln     *listener
	logs   *observer.ObservedLogs
	served chan error

	mu     sync.Mutex
	opened []Handshake
}

var errToken = errors.New("no such token")

// inTime runs a test of a Server in a bubble of testing/synctest.
func inTime(t *testing.T, change func(*Config), f func(t *testing.T, s *running)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		s := &running{t: t, ln: newListener(), logs: logs, served: make(chan error, 1)}
		cfg := Config{
			HandshakeTimeout: 10 * time.Second, HandshakeBytes: 8 << 10, AllowNoOrigin: true, TrustedHeader: "X-Real-IP", Log: zap.New(core),
			Authenticate: func(h *Handshake) (id auth.Identity, err error) {
				if h.Token != "good" {
					return id, errToken
				}
				return auth.Identity{ID: "7"}, nil
			},
			Unavailable: func() string { return "" },
			Open: func(h *Handshake) error {
				s.mu.Lock()
				s.opened = append(s.opened, *h)
				s.opened[len(s.opened)-1].Early = append([]byte(nil), h.Early...)
				s.mu.Unlock()
				_, err := io.WriteString(h.Conn, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: "+h.Protocol+"\r\n\r\n")
				if err != nil {
					t.Error(err)
				}
				return nil
			},
		}
		if change != nil {
			change(&cfg)
		}
		var err error
		if s.Server, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		go func() { s.served <- s.Serve(s.ln) }()
		f(t, s)
		s.Stop()
		s.Close(t.Context())
		if err := <-s.served; err != nil {
			t.Error(err)
		}
	})
}

// answer is what a client received, until the server closed or accepted it.
type answer struct {
	status int
	header http.Header
	body   string
	closed bool
}

const near = "192.0.2.1"

// ask sends a request from that address and reads the answer.
func (s *running) ask(address, request string) (a answer) {
	s.t.Helper()
	client, server := connect(address)
	s.ln.conns <- server
	// The server may close before it has read all.
	go func() { _, _ = io.WriteString(client, request) }()
	br := bufio.NewReader(client)
	r, err := http.ReadResponse(br, nil)
	if err != nil {
		s.t.Fatalf("no answer to %.60q: %v", request, err)
	}
	a.status, a.header = r.StatusCode, r.Header
	if a.status == http.StatusSwitchingProtocols {
		return a
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatalf("%.60q: %v", request, err)
	}
	a.body = string(body)
	_, err = br.ReadByte()
	a.closed = err == io.EOF
	_ = client.Close()
	synctest.Wait()
	if !server.closed.Load() { // net/http lingers for half a second
		time.Sleep(time.Second)
		synctest.Wait()
	}
	if !server.closed.Load() {
		s.t.Errorf("%.60q: the socket stays open", request)
	}
	return a
}

func (s *running) last() Handshake {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened[len(s.opened)-1]
}

const upgradeHeaders = "Host: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func upgrade(path, extra string) string {
	return "GET " + path + " HTTP/1.1\r\n" + upgradeHeaders + extra + "\r\n"
}

const good = "/?auth=good"

func counted(s *running) string {
	var all []string
	for _, c := range s.Refused() {
		all = append(all, fmt.Sprintf("%d %s: %d", c.Code, c.Reason, c.N))
	}
	return strings.Join(all, "; ")
}
