// Package accept is the outside port up to the answer of a handshake. It accepts, reads each
// request's head under a time limit, checks it by RFC 6455 §4.2.1, its origin, its token and the
// limits, and gives whoever may come in to Config.Open. It refuses the others, and answers requests
// that are no handshakes with plain pages.
//
//	listener ─ Serve ─▶ head ─▶ a page
//	                      │
//	                      ▼
//	                   handshake ─▶ origin ─▶ Authenticate ─▶ limits ─▶ Open
//	                      └────────────┴───────────┴────────────┴─────▶ Refuse
//
// The root package makes one Server, and its configuration says what that needs of the rest: who a
// token is, whether clients are taken now, and what becomes of a client. A gate for tokens that are
// expensive to check belongs in front of Authenticate, in admit.
package accept

import (
	"bytes"
	"cmp"
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
	RefusedRate      int           // refusals a second and address that are answered in full; 0 = all
	Origins          []string      // pages that may connect besides those of the own host; "*" = all
	AllowNoOrigin    bool          // clients without Origin, which are not browsers, may connect
	TrustedProxies   []string      // addresses and CIDRs whose header is believed
	TrustedHeader    string        // the one that names the client's address
	Static           fs.FS         // served under /static/; nil = nothing
	Log              *zap.Logger

	// Authenticate tells whose token it is, "" = there is none. An error refuses the client.
	Authenticate func(token string) (auth.Identity, error)
	// Unavailable tells why no clients are taken now; "" = they are.
	Unavailable func() string
	// Open answers the handshake, and calls Left when the client has gone. Where it returns an
	// error nothing was answered yet, and the client is refused: as a *Refusal says, else with 503.
	Open func(h *Handshake) error
}

// Conn is an accepted socket.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Handshake is a client that may come in.
type Handshake struct {
	Conn     Conn
	Request  *http.Request
	Early    []byte // arrived behind the request; valid until Open returns
	Identity auth.Identity
	Remote   string // the client's address, from a trusted proxy's header where there is one
	Protocol string // Sec-WebSocket-Protocol to answer, "" = none
}

var errNotTCP = errors.New("only TCP listeners can be served")

// Server is made by New. It is safe for concurrent use; its locks are leaves.
type Server struct {
	cfg       Config
	origins   origins
	proxies   proxies
	addresses addresses
	pages     *pages

	listeners listeners
	admitted  atomic.Int64 // connections and handshakes that count against MaxConnections

	refused    tally.Tally   // by HTTP status
	unreadable lograte.Limit // headers of trusted proxies
}

// New makes a Server, which accepts nothing before Serve and starts no goroutine.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, origins: newOrigins(cfg.Origins, cfg.AllowNoOrigin)}
	var err error
	if s.proxies, err = newProxies(cfg.TrustedProxies, cfg.TrustedHeader); err != nil {
		return nil, err
	}
	s.addresses.init(cfg.RefusedRate, cfg.ConnectionsPerIP)
	s.pages = newPages(&cfg)
	return s, nil
}

// Serve accepts on ln until Stop. Several listeners may be served at once.
func (s *Server) Serve(ln net.Listener) error {
	deadliner, ok := ln.(socket.Deadliner)
	if !ok {
		return errors.Join(errNotTCP, ln.Close())
	}
	return s.listeners.serve(deadliner, s.cfg.Log, s.handle)
}

// Pause has Serve wait, and returns at once. The listeners stay open: who comes waits in the
// kernel's queue, and another process that shares them may accept.
func (s *Server) Pause() { s.listeners.pause() }

// Resume ends a Pause.
func (s *Server) Resume() { s.listeners.resume() }

// Stop closes the listeners and ends the handshakes that are under way. When it returns Open is not
// called any more.
func (s *Server) Stop() { s.listeners.stop() }

// Close ends the plain pages, behind Stop.
func (s *Server) Close() { s.pages.close() }

// Handshakes is the number of accepted sockets of which it is not decided yet what they are.
func (s *Server) Handshakes() int { return int(s.listeners.handling.Load()) }

// Refused counts the handshakes that were not let in, by HTTP status and reason.
func (s *Server) Refused() []api.Counted { return s.refused.List() }

// Entered counts a connection that did not come by Open, against the limits but beyond them, too.
func (s *Server) Entered(remote string) {
	s.admitted.Add(1)
	s.addresses.entered(remote)
}

// Left gives back the place of a connection.
func (s *Server) Left(remote string) {
	s.admitted.Add(-1)
	s.addresses.left(remote)
}

// heads are the buffers that requests are read into.
var heads = sync.Pool{New: func() any { return new([]byte) }}

// handle decides what an accepted socket is: a client that may come in, a request for a page, or
// neither.
func (s *Server) handle(conn Conn) {
	defer func() {
		if v := recover(); v != nil {
			s.cfg.Log.Error("panic in the handshake", zap.Any("panic", v), zap.Stack("stack"))
			_ = conn.Close()
		}
	}()
	_ = conn.SetReadDeadline(time.Now().Add(s.cfg.HandshakeTimeout)) // an error shows at the read
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
	r, err := parseHead(data[:end])
	if err != nil {
		s.refuse(conn, peerOf(conn), &Refusal{Status: http.StatusBadRequest, Reason: reasonMalformed})
		return
	}
	if !wantsWebSocket(r) {
		s.listeners.end(conn)
		_ = conn.SetDeadline(time.Time{})
		s.pages.serve(conn, bytes.Clone(data))
		return
	}
	h := &Handshake{Conn: conn, Request: r, Early: data[end:], Remote: s.remoteOf(conn, r.Header)}
	if reason := cmp.Or(malformed(data[:end]), notUpgrade(r)); reason != "" {
		s.refuse(conn, h.Remote, &Refusal{Status: http.StatusBadRequest, Reason: reason})
		return
	}
	if refusal := s.admit(h); refusal != nil {
		s.refuse(conn, h.Remote, refusal)
		return
	}
	s.open(h)
}

// admit decides who may come in. A token is checked whatever others at its address did (promise
// L9).
func (s *Server) admit(h *Handshake) *Refusal {
	if !s.origins.allow(h.Request) {
		return &Refusal{Status: http.StatusForbidden, Reason: "origin"}
	}
	token, protocol := tokenOf(h.Request)
	id, err := s.cfg.Authenticate(token)
	if err != nil {
		return refusalOf(err, Refusal{Status: http.StatusForbidden, Reason: "token", Cause: err})
	}
	reason := s.cfg.Unavailable()
	if s.listeners.stopping.Load() {
		reason = reasonStopping
	}
	if reason != "" {
		return &Refusal{Status: http.StatusServiceUnavailable, Reason: reason}
	}
	if max := s.cfg.MaxConnections; s.admitted.Add(1) > int64(max) && max > 0 {
		s.admitted.Add(-1)
		return &Refusal{Status: http.StatusServiceUnavailable, Reason: "the server is full"}
	}
	if !s.addresses.entered(h.Remote) {
		s.admitted.Add(-1)
		return &Refusal{Status: http.StatusForbidden, Reason: "connections of one address"}
	}
	h.Identity, h.Protocol = id, protocol
	return nil
}

// open lets the client in. Its deadlines are its own from here on.
func (s *Server) open(h *Handshake) {
	s.listeners.end(h.Conn)
	_ = h.Conn.SetDeadline(time.Time{})
	if err := s.cfg.Open(h); err != nil {
		s.Left(h.Remote)
		s.refuse(h.Conn, h.Remote, refusalOf(err, Refusal{Status: http.StatusServiceUnavailable, Reason: "it could not be opened", Cause: err}))
	}
}

// headFailed ends a connection whose request head has not come whole.
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

// refuse counts, logs once a minute, answers and closes. Beyond the rate of its address a 403 is
// bare, and is not waited for.
func (s *Server) refuse(conn Conn, remote string, r *Refusal) {
	defer conn.Close()
	if n := s.refused.Note(r.Status, r.Reason, time.Now()); n > 0 {
		s.cfg.Log.Warn("handshake refused", zap.Int("status", r.Status), zap.String("reason", r.Reason), zap.Int64("since_last", n),
			zap.String("remote", remote), zap.Error(r.Cause))
	}
	bare := r.Status == http.StatusForbidden && !s.addresses.refused(remote)
	if conn.SetDeadline(time.Now().Add(socket.LingerTime)) != nil {
		return
	}
	if _, err := conn.Write(r.response(bare)); err == nil && !bare && !s.listeners.stopping.Load() {
		socket.Linger(conn)
	}
}

func peerOf(conn net.Conn) string {
	if addr, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return addr.AddrPort().Addr().Unmap().String()
	}
	return ""
}

// remoteOf is the client's address. A header of a trusted proxy that cannot be read has all its
// clients counted as one, so it is logged.
func (s *Server) remoteOf(conn net.Conn, h http.Header) string {
	remote, unreadable := s.proxies.client(conn.RemoteAddr(), h)
	if unreadable != "" {
		if n := s.unreadable.Due(time.Now()); n > 0 {
			s.cfg.Log.Warn("the trusted header of a proxy holds no address: its clients count as one", zap.String("trusted_header", s.proxies.header),
				zap.String("value", fmt.Sprintf("%.100q", unreadable)), zap.String("proxy", remote), zap.Int64("since_last", n))
		}
	}
	return remote
}
