package manager

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lxzan/gws"
	"go.uber.org/zap"
)

const (
	maxMessage = 16 << 10
	maxConns   = 32
	idleTime   = 2 * time.Minute
	writeTime  = 10 * time.Second // for a client to take an answer
	stopTime   = 3 * time.Second  // for a command to end at Close, and for a client to say goodbye
)

// Config of a Server.
type Config struct {
	Backend Backend
	Token   string // what a client must show; "" = loopback peers only
	Log     *zap.Logger
}

// Server answers admin commands.
type Server struct {
	cfg     Config
	http    *http.Server
	up      *gws.Upgrader
	life    context.Context // of commands; ends with Close
	endLife context.CancelFunc

	mu     sync.Mutex
	taken  int // places of maxConns, handshakes included
	conns  map[*session]struct{}
	closed bool
	work   sync.WaitGroup // one for each place; none is added once closed
}

// session is one admin connection.
type session struct {
	ws   *gws.Conn
	peer string
	idle chan struct{} // holds a value while no command runs
}

// NewServer makes one; Serve starts it.
func NewServer(cfg Config) *Server {
	s := &Server{cfg: cfg, conns: map[*session]struct{}{}}
	s.life, s.endLife = context.WithCancel(context.Background())
	s.up = gws.NewUpgrader(&handler{server: s}, &gws.ServerOption{
		ReadMaxPayloadSize: maxMessage, CheckUtf8Enabled: true, Logger: quiet{},
	})
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.accept), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 10 * time.Second,
		MaxHeaderBytes: 8 << 10, ErrorLog: zap.NewStdLog(cfg.Log),
	}
	return s
}

type quiet struct{}

func (quiet) Error(...any) {}

// Serve answers on ln until Close.
func (s *Server) Serve(ln net.Listener) error {
	err := s.http.Serve(listener{ln})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends the contexts of the commands that run, lets them answer for a moment, and ends all connections.
func (s *Server) Close() {
	_ = s.http.Close()
	s.endLife()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		go c.goodbye()
	}
	s.mu.Unlock()
	s.work.Wait()
}

// goodbye closes with 1001, after the answer to the command that runs. Both wait at most stopTime.
func (c *session) goodbye() {
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-c.idle:
	case <-timer.C:
	}
	_ = c.ws.NetConn().SetDeadline(time.Now().Add(stopTime)) // of a closed one: WriteClose says so
	_ = c.ws.WriteClose(1001, nil)
}

// accept lets in who may command: no pages, and only loopback peers or those that show the token.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) {
	refuse := func(why string, status int) {
		s.cfg.Log.Warn("admin connection refused", zap.String("why", why), zap.String("peer", r.RemoteAddr))
		http.Error(w, http.StatusText(status), status)
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this port speaks WebSocket; use console -s status", http.StatusUpgradeRequired)
		return
	}
	if why := s.forbidden(r); why != "" {
		refuse(why, http.StatusForbidden)
		return
	}
	if !s.enter() {
		refuse("too many admin connections", http.StatusServiceUnavailable)
		return
	}
	defer s.leave()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.cfg.Log.Error("admin connection", zap.Error(err))
		return
	}
	if c, ok := conn.(*socket); ok {
		c.linger.Store(true)
	}
	// Upgrader.Upgrade would lose frames that came in one piece with the request.
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered()) // there is so much
	buffered.Reader.Reset(io.MultiReader(bytes.NewReader(slices.Clone(early)), conn))
	ws, err := s.up.UpgradeFromConn(conn, buffered.Reader, r)
	if err != nil {
		return // gws has answered
	}
	s.serve(&session{ws: ws, peer: r.RemoteAddr, idle: make(chan struct{}, 1)})
}

// forbidden tells why a request may not command, or "". A page is refused even with the token: a browser lets it reach this machine's
// loopback, and nothing of ours is one.
func (s *Server) forbidden(r *http.Request) string {
	if len(r.Header["Origin"]) > 0 {
		return "it comes from a web page"
	}
	if s.cfg.Token == "" {
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || !net.ParseIP(host).IsLoopback() {
			return "not from this machine, and no token is configured"
		}
		return ""
	}
	token := r.URL.Query().Get("token")
	if scheme, bearer, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		token = bearer
	}
	if !same(token, s.cfg.Token) {
		return "wrong token, or none"
	}
	return ""
}

// same compares in constant time, lengths included.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.taken == maxConns {
		return false
	}
	s.taken++
	s.work.Add(1)
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	s.taken--
	s.mu.Unlock()
	s.work.Done()
}

// serve reads commands until the connection ends.
func (s *Server) serve(c *session) {
	defer func() {
		if v := recover(); v != nil { // gws's own: OnMessage has recovered ours. A frame with a length beyond 2^63 is enough
			s.cfg.Log.Warn("admin connection sent an impossible frame", zap.String("peer", c.peer))
			_ = c.ws.WriteClose(1009, nil)
		}
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		_ = c.ws.NetConn().Close()
	}()
	c.idle <- struct{}{}
	c.ws.Session().Store(sessionKey, c)
	c.stay(idleTime)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	closed := s.closed
	s.mu.Unlock()
	if closed { // meanwhile: Close has not seen it
		go c.goodbye()
	}
	c.ws.ReadLoop()
}

// stay says how long nothing may arrive before the connection ends; 0 = for ever.
func (c *session) stay(d time.Duration) {
	var end time.Time
	if d > 0 {
		end = time.Now().Add(d)
	}
	_ = c.ws.NetConn().SetReadDeadline(end) // of a closed one: the read says so
}

// write sends an answer. One that fails ends the connection: nobody needs to hear it here.
func (c *session) write(answer []byte) {
	_ = c.ws.NetConn().SetWriteDeadline(time.Now().Add(writeTime))
	_ = c.ws.WriteMessage(gws.OpcodeText, answer)
}

const sessionKey = "session"

// handler is what gws calls.
type handler struct {
	gws.BuiltinEventHandler
	server *Server
}

func sessionOf(ws *gws.Conn) *session {
	v, _ := ws.Session().Load(sessionKey)
	c, _ := v.(*session)
	return c
}

// OnPing answers with the ping's payload, which gws's own handler does not (RFC 6455 section 5.5.3).
func (h *handler) OnPing(ws *gws.Conn, payload []byte) {
	sessionOf(ws).stay(idleTime)
	_ = ws.WritePong(payload)
}

// OnMessage runs one command. The next frame is read when it has ended.
func (h *handler) OnMessage(ws *gws.Conn, m *gws.Message) {
	defer m.Close()
	c := sessionOf(ws)
	select {
	case <-c.idle:
	case <-h.server.life.Done(): // it is being said goodbye to
		return
	}
	defer func() {
		if v := recover(); v != nil {
			h.server.cfg.Log.Error("panic on the admin port", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			_ = ws.WriteClose(1011, nil)
		}
		c.idle <- struct{}{}
	}()
	c.stay(0)
	c.stay(h.server.command(c, m.Bytes()))
}
