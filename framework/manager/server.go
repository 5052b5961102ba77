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

	"wsframe/framework/internal/lograte"
	"wsframe/library/socket"
)

const (
	maxMessage = 16 << 10
	maxConns   = 32
	idleTime   = 2 * time.Minute
	writeTime  = 10 * time.Second // for a client to receive a reply
	// stopTime bounds the end of a command at Close, and the end of a connection.
	stopTime = 3 * time.Second
)

// Close codes (RFC 6455 section 7.4.1 and IANA's registry).
const (
	goingAway     = 1001
	tryAgainLater = 1013
)

// Config of a Server.
type Config struct {
	Backend Backend
	Token   string // of clients; "" = processes of this machine need none, and others are refused
	Log     *zap.Logger
}

// Server carries out admin commands. It is safe for concurrent use.
type Server struct {
	cfg Config

	// Any peer can cause these events: each has one line of log a minute.
	refused, malformed, impossible lograte.Limit

	http    *http.Server
	up      *gws.Upgrader
	life    context.Context // of commands; Close ends it
	endLife context.CancelFunc

	mu sync.Mutex
	// conns has at most maxConns handshakes and connections, those that were displaced not
	// included.
	conns  map[*session]struct{}
	closed bool
	work   sync.WaitGroup // has one for each session; none is added after closed
}

// NewServer makes a Server; Serve starts it.
func NewServer(cfg Config) *Server {
	s := &Server{cfg: cfg, conns: map[*session]struct{}{}}
	s.life, s.endLife = context.WithCancel(context.Background())
	s.up = gws.NewUpgrader(&handler{server: s}, &gws.ServerOption{
		ReadMaxPayloadSize: maxMessage, CheckUtf8Enabled: true, Logger: quiet{},
	})
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.accept), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 10 * time.Second,
		MaxHeaderBytes: 8 << 10, ErrorLog: zap.NewStdLog(cfg.Log),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, socketKey{}, c) },
	}
	return s
}

type quiet struct{}

func (quiet) Error(...any) {}

// Serve accepts connections on ln until Close.
func (s *Server) Serve(ln net.Listener) error {
	err := s.http.Serve(listener{ln})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends the contexts of the commands that run, waits up to 3 s for their replies, and closes
// all connections.
func (s *Server) Close() {
	_ = s.http.Close()
	s.endLife()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		if c.ws != nil { // else opened closes it after its handshake
			go c.goodbye(goingAway)
		}
	}
	s.mu.Unlock()
	s.work.Wait()
}

// warn logs a line where limit allows one, with the number of those that it has suppressed before.
func (s *Server) warn(limit *lograte.Limit, message string, fields ...zap.Field) {
	if n := limit.Due(time.Now()); n > 0 {
		s.cfg.Log.Warn(message, append(fields, zap.Int64("not_logged", n-1))...)
	}
}

// accept makes a session of a handshake, unless the peer may not command.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) {
	refuse := func(why string, status int) {
		s.warn(&s.refused, "admin connection refused", zap.String("why", why), zap.String("peer", r.RemoteAddr))
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
	c := s.add(r)
	if c == nil {
		refuse("too many admin connections", http.StatusServiceUnavailable)
		return
	}
	defer s.remove(c)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.cfg.Log.Error("admin connection", zap.Error(err))
		return
	}
	c.socket.linger.Store(true)
	// Upgrader.Upgrade would lose frames that arrived together with the request.
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered()) // cannot fail: so much is buffered
	buffered.Reader.Reset(io.MultiReader(bytes.NewReader(slices.Clone(early)), conn))
	ws, err := s.up.UpgradeFromConn(conn, buffered.Reader, r)
	if err != nil {
		return // gws has sent the response
	}
	s.serve(c, ws)
}

// forbidden returns why a request may not command, or "". Web pages may not even with the token: a
// browser lets them reach the loopback interface, and no page of ours does. Without a token the
// host must be this machine, since any name can be made to point here (DNS rebinding).
func (s *Server) forbidden(r *http.Request) string {
	if len(r.Header["Origin"]) > 0 {
		return "it comes from a web page"
	}
	if s.cfg.Token == "" {
		switch {
		case !socket.IsLoopback(r.RemoteAddr):
			return "not from this machine, and no token is configured"
		case !socket.IsLoopback(r.Host):
			return "for another host than this machine, and no token is configured"
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

// serve reads commands until the connection ends.
func (s *Server) serve(c *session, ws *gws.Conn) {
	defer func() {
		// A frame with a length beyond 2^63 makes gws panic. OnMessage recovers our own panics.
		if v := recover(); v != nil {
			s.warn(&s.impossible, "admin connection sent an impossible frame", zap.String("peer", c.peer))
			s.end(c, 1009)
		}
		_ = ws.NetConn().Close()
	}()
	ws.Session().Store(sessionKey, c)
	if !s.opened(c, ws) {
		return
	}
	c.allowIdle(ws.NetConn(), idleTime)
	ws.ReadLoop()
}

const sessionKey = "session"

// handler has the methods that gws calls.
type handler struct {
	gws.BuiltinEventHandler
	server *Server
}

func sessionOf(ws *gws.Conn) *session {
	v, _ := ws.Session().Load(sessionKey)
	c, _ := v.(*session)
	return c
}

// OnPing sends a pong with the ping's payload, which gws's default does not (RFC 6455 section
// 5.5.3).
func (h *handler) OnPing(ws *gws.Conn, payload []byte) {
	sessionOf(ws).allowIdle(ws.NetConn(), idleTime)
	_ = ws.WritePong(payload)
}

// OnMessage runs one command. The next frame is read after its end.
func (h *handler) OnMessage(ws *gws.Conn, m *gws.Message) {
	defer m.Close()
	c := sessionOf(ws)
	select {
	case <-c.idle:
	case <-c.displaced:
		return
	case <-h.server.life.Done(): // Close closes the connection
		return
	}
	defer func() {
		if v := recover(); v != nil {
			h.server.cfg.Log.Error("panic on the admin port", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			h.server.end(c, 1011)
		}
		h.server.commandEnded(c)
	}()
	c.allowIdle(ws.NetConn(), 0)
	c.allowIdle(ws.NetConn(), h.server.command(c, m.Bytes()))
}
