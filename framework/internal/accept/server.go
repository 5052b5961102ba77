// Package accept serves the public port up to the response of a handshake. It accepts sockets,
// reads each request's head under a time limit, and checks it by RFC 6455 §4.2.1, its origin, its
// token and the limits. Accepted clients are passed to Config.Open, the others are refused.
// Requests that are no handshakes are answered by Policy.Pages, or with plain pages.
//
//	listener ─ Serve ─▶ head ─▶ a page
//	                      │
//	                      ▼
//	                   handshake ─▶ origin ─▶ Authenticate ─▶ limits ─▶ Open
//	                      └────────────┴───────────┴────────────┴─────▶ Refuse
//
// The root package makes one Server. Its Config provides whose a token is, whether clients are
// accepted now, and what happens to an accepted client. Checks that are expensive run in
// Handshake.Costly, a few at a time.
package accept

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/auth"
	"wsframe/framework/internal/lograte"
	"wsframe/framework/internal/tally"
	"wsframe/library/socket"
)

// Config of a Server. Functions may be called by many goroutines at once.
type Config struct {
	HandshakeTimeout time.Duration // for a request's head to come
	HandshakeBytes   int           // largest head
	MaxConnections   int           // 0 = no limit
	ConnectionsPerIP int           // of an IPv4 address or an IPv6 /64; 0 = no limit
	RefusedRate      int           // full answers to refusals a second and address; 0 = all
	Origins          []string      // pages of other hosts that may connect; "*" = all
	AllowNoOrigin    bool          // clients without Origin, which are not browsers, may connect
	TrustedProxies   []string      // addresses and CIDRs whose header is believed
	TrustedHeader    string        // the one that names the client's address
	Static           fs.FS         // served under /static/; nil = nothing
	Pages            []Page        // of the application, for Serve
	Drain            time.Duration // for requests of pages that are under way at Close; 0 = 10 s
	Log              *zap.Logger

	// Authenticate returns whose handshake it is, by its Token or by anything else of it. An error
	// refuses the client. A check that takes more than microseconds runs in Handshake.Costly.
	Authenticate func(h *Handshake) (auth.Identity, error)
	// Unavailable returns why no clients are accepted now; "" = they are accepted.
	Unavailable func() string
	// Open answers the handshake, and calls Release when the client has gone. An error means that
	// nothing was answered yet: the client is refused by its *Refusal, or else with 503.
	Open func(h *Handshake) error
}

// Policy is what one listener admits, and what happens to its clients.
type Policy struct {
	Origins       []string // as in Config
	AllowNoOrigin bool
	Authenticate  func(h *Handshake) (auth.Identity, error)
	Unavailable   func() string
	Open          func(h *Handshake) error
	// Resumes reports whether a handshake belongs to a session that was admitted by Admit: only its
	// origin is checked, and it does not count. nil = none does. Open returns nil for it.
	Resumes func(r *http.Request) bool
	NoPages bool // requests that are no handshakes are refused

	// Pages answers the requests that are no handshakes; nil = plain pages. Request.RemoteAddr is
	// the client's address, from a trusted proxy's header where there is one, with a port. Bodies
	// are as large as the handler reads; a client that neither sends nor takes anything for 10 s is
	// cut, unless the handler has set deadlines (http.ResponseController). Admit makes a session of
	// a request.
	Pages http.Handler
}

// door is a Policy in use.
type door struct {
	Policy
	origins origins
	server  *Server
}

func (s *Server) newDoor(p Policy) *door {
	return &door{p, newOrigins(p.Origins, p.AllowNoOrigin), s}
}

// Conn is an accepted socket.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Handshake is an accepted client's request.
type Handshake struct {
	Conn     Conn // nil where Admit made it
	Request  *http.Request
	Head     []byte // the request as it came, up to its blank line; valid until Open returns; nil where Admit made it
	Early    []byte // bytes after the request; valid until Open returns
	Identity auth.Identity
	Remote   string // the client's address, from a trusted proxy's header where there is one
	Protocol string // Sec-WebSocket-Protocol to answer, "" = none
	Resumed  bool   // see Policy.Resumes
	Token    string // as the client sent it; "" = none

	door     *door
	deadline time.Time
}

var errNotTCP = errors.New("only TCP listeners can be served")

// Server is made by New. It is safe for concurrent use; its locks are leaves.
type Server struct {
	cfg       Config
	outside   *door // of Serve
	proxies   proxies
	addresses addresses
	pages     *pages

	listeners listeners
	admitted  atomic.Int64 // connections and handshakes that count against MaxConnections
	refusing  atomic.Int64 // connections that were refused by a close code, and wait for their end

	gate gate
	life context.Context // ends with Stop
	end  context.CancelFunc

	refused    tally.Tally   // by HTTP status
	unreadable lograte.Limit // log lines about headers of trusted proxies
}

// New makes a Server, which accepts nothing before Serve and starts no goroutine.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg}
	s.life, s.end = context.WithCancel(context.Background())
	s.outside = s.newDoor(Policy{
		Origins: cfg.Origins, AllowNoOrigin: cfg.AllowNoOrigin, Authenticate: cfg.Authenticate, Unavailable: cfg.Unavailable, Open: cfg.Open,
	})
	var err error
	if s.proxies, err = newProxies(cfg.TrustedProxies, cfg.TrustedHeader); err != nil {
		return nil, err
	}
	s.addresses.init(cfg.RefusedRate, cfg.ConnectionsPerIP)
	if s.pages, err = newPages(&cfg); err != nil {
		return nil, err
	}
	s.pages.remote, s.pages.upgrade = s.remoteOf, s.upgraded
	return s, nil
}

// Serve accepts on ln until Stop. Several listeners may be served at once.
func (s *Server) Serve(ln net.Listener) error { return s.serve(ln, s.outside) }

// ServeAs is Serve of a listener that admits others. Limits count all listeners together.
func (s *Server) ServeAs(ln net.Listener, p Policy) error { return s.serve(ln, s.newDoor(p)) }

func (s *Server) serve(ln net.Listener, d *door) error {
	deadliner, ok := ln.(socket.Deadliner)
	if !ok {
		return errors.Join(errNotTCP, ln.Close())
	}
	return s.listeners.serve(deadliner, s.cfg.Log, func(conn Conn) { s.handle(conn, d) })
}

// Pause makes Serve wait, and returns at once. The listeners stay open: clients wait in the
// kernel's queue, and another process that shares the listeners may accept them.
//
// Connections of pages end after the request that they have, as after Stop.
func (s *Server) Pause() {
	s.listeners.pause()
	s.pages.keep(false)
}

// Resume ends a Pause.
func (s *Server) Resume() {
	s.listeners.resume()
	s.pages.keep(true)
}

// Stop closes the listeners and ends the handshakes that are under way. Open is not called after it
// has returned.
func (s *Server) Stop() {
	s.end()
	s.listeners.stop()
	s.pages.keep(false)
}

// Close waits for the requests of pages, at most Config.Drain, and then cuts them. It follows Stop.
func (s *Server) Close(ctx context.Context) { s.pages.close(ctx) }

// Handshakes returns the number of accepted sockets whose request is not handled yet.
func (s *Server) Handshakes() int { return int(s.listeners.handling.Load()) }

// Refused returns the number of refused handshakes, by HTTP status and reason.
func (s *Server) Refused() []api.Counted { return s.refused.List() }

// Reserve counts a connection that did not come by Open, such as a moved one. It succeeds even
// beyond the limits.
func (s *Server) Reserve(remote string) {
	s.admitted.Add(1)
	s.addresses.entered(remote)
}

// Release frees the place of a connection from Open or Reserve.
func (s *Server) Release(remote string) {
	s.admitted.Add(-1)
	s.addresses.left(remote)
}

// heads are the buffers for requests.
var heads = sync.Pool{New: func() any { return new([]byte) }}

// handle reads a socket's request and serves it: a handshake, a request for a page, or neither.
func (s *Server) handle(conn Conn, d *door) {
	defer func() {
		if v := recover(); v != nil {
			s.cfg.Log.Error("panic in the handshake", zap.Any("panic", v), zap.Stack("stack"))
			_ = conn.Close()
		}
	}()
	expires := s.expires()
	_ = conn.SetReadDeadline(expires) // an error shows at the read
	if !s.listeners.begin(conn) {
		_ = conn.Close() // the server stops
		return
	}
	defer s.listeners.end(conn)
	p := heads.Get().(*[]byte)
	defer heads.Put(p)
	if len(*p) != s.cfg.HandshakeBytes {
		*p = make([]byte, s.cfg.HandshakeBytes)
	}
	data, end, err := readHead(conn, *p)
	if err != nil {
		s.headFailed(conn, err)
		return
	}
	s.decide(conn, d, data, end, expires)
}

// upgraded is handle of a connection of pages whose next request, with the head read, is a
// handshake.
func (s *Server) upgraded(conn Conn, d *door, read []byte) {
	if !s.listeners.adopt(conn) {
		_ = conn.Close() // the server stops
		return
	}
	defer s.listeners.working.Done()
	defer s.listeners.end(conn)
	s.decide(conn, d, read, bytes.Index(read, headEnd)+len(headEnd), s.expires())
}

// decide serves the request whose head is data[:end].
func (s *Server) decide(conn Conn, d *door, data []byte, end int, expires time.Time) {
	r, err := parseHead(data[:end])
	if err != nil {
		s.refuse(conn, peerOf(conn), &Refusal{Status: http.StatusBadRequest, Reason: reasonMalformed})
		return
	}
	if !wantsWebSocket(r) && !d.NoPages {
		if max := s.cfg.MaxConnections; max > 0 && s.pages.open.Load() >= int64(max) {
			s.refuse(conn, peerOf(conn), &Refusal{Status: http.StatusServiceUnavailable, Reason: reasonFull})
			return
		}
		s.listeners.end(conn)
		_ = conn.SetDeadline(time.Time{})
		s.pages.serve(conn, d, bytes.Clone(data))
		return
	}
	h := &Handshake{Conn: conn, Request: r, Head: data[:end], Early: data[end:], Remote: s.remoteOf(conn.RemoteAddr(), r.Header), door: d, deadline: expires}
	if reason := cmp.Or(malformed(data[:end]), notWebSocket(r), notUpgrade(r)); reason != "" {
		s.refuse(conn, h.Remote, &Refusal{Status: http.StatusBadRequest, Reason: reason})
		return
	}
	if refusal := s.admit(h, d); refusal != nil {
		s.turnAway(h, refusal)
		return
	}
	s.open(h, d)
}

// open accepts the client, whose deadlines are Open's from here on.
func (s *Server) open(h *Handshake, d *door) {
	s.listeners.end(h.Conn)
	_ = h.Conn.SetDeadline(time.Time{})
	if err := d.Open(h); err != nil {
		s.Release(h.Remote)
		s.turnAway(h, refusalOf(err, Refusal{Status: http.StatusServiceUnavailable, Reason: "it could not be opened", Cause: err}))
	}
}

// headFailed ends a connection whose request head is incomplete.
func (s *Server) headFailed(conn Conn, err error) {
	r := &Refusal{Status: http.StatusBadRequest, Reason: "this is not HTTP"}
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF):
		_ = conn.Close()
		return
	case s.listeners.stopping.Load():
		r.Status, r.Reason = http.StatusServiceUnavailable, reasonStopping
	case errors.As(err, &timeout) && timeout.Timeout():
		r.Status, r.Reason = http.StatusRequestTimeout, "the request head took too long"
	case errors.Is(err, errHeadTooLarge):
		r.Status, r.Reason = http.StatusRequestHeaderFieldsTooLarge, errHeadTooLarge.Error()
	}
	s.refuse(conn, peerOf(conn), r)
}

// refuse counts the refusal, answers and closes. The client's end is awaited unless the answer is
// bare.
func (s *Server) refuse(conn Conn, remote string, r *Refusal) {
	bare := s.note(remote, r)
	s.write(conn, r.response(bare), !bare)
}

func peerOf(conn net.Conn) string {
	if addr, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return addr.AddrPort().Addr().Unmap().String()
	}
	return ""
}

// remoteOf returns the client's address. An unreadable header of a trusted proxy is logged, since
// all its clients then count as one.
func (s *Server) remoteOf(peer net.Addr, h http.Header) string {
	remote, unreadable := s.proxies.client(peer, h)
	if unreadable != "" {
		if n := s.unreadable.Due(time.Now()); n > 0 {
			s.cfg.Log.Warn("the trusted header of a proxy holds no address: its clients count as one", zap.String("trusted_header", s.proxies.header),
				zap.String("value", fmt.Sprintf("%.100q", unreadable)), zap.String("proxy", remote), zap.Int64("since_last", n))
		}
	}
	return remote
}
