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
	writeTime  = 10 * time.Second // for a client to take an answer
	stopTime   = 3 * time.Second  // for a command to end at Close, and for a client to say goodbye
)

// Close codes (RFC 6455 section 7.4.1 and IANA's registry).
const (
	goingAway     = 1001
	tryAgainLater = 1013
)

// Config of a Server.
type Config struct {
	Backend Backend
	Token   string // what a client must show; "" = loopback peers only
	Log     *zap.Logger
}

// Server answers admin commands.
type Server struct {
	cfg Config

	// What anybody who connects can cause has a line a minute each.
	refused, malformed, impossible lograte.Limit

	http    *http.Server
	up      *gws.Upgrader
	life    context.Context // of commands; ends with Close
	endLife context.CancelFunc

	mu     sync.Mutex
	conns  map[*session]struct{} // maxConns at most: handshakes and connections, without those that gave way
	closed bool
	work   sync.WaitGroup // one for each session; none is added once closed
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
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, socketKey{}, c) },
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
		if c.ws != nil { // else it is told as soon as its handshake has ended
			go c.goodbye(goingAway)
		}
	}
	s.mu.Unlock()
	s.work.Wait()
}

// warn logs a line where limit has one due, with the number of those that were left out before it.
func (s *Server) warn(limit *lograte.Limit, message string, fields ...zap.Field) {
	if n := limit.Due(time.Now()); n > 0 {
		s.cfg.Log.Warn(message, append(fields, zap.Int64("not_logged", n-1))...)
	}
}

// accept lets in who may command: no pages, and only loopback peers or those that show the token.
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
	c := s.enter(r)
	if c == nil {
		refuse("too many admin connections", http.StatusServiceUnavailable)
		return
	}
	defer s.leave(c)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.cfg.Log.Error("admin connection", zap.Error(err))
		return
	}
	c.socket.linger.Store(true)
	// Upgrader.Upgrade would lose frames that came in one piece with the request.
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered()) // there is so much
	buffered.Reader.Reset(io.MultiReader(bytes.NewReader(slices.Clone(early)), conn))
	ws, err := s.up.UpgradeFromConn(conn, buffered.Reader, r)
	if err != nil {
		return // gws has answered
	}
	s.serve(c, ws)
}

// forbidden tells why a request may not command, or "". A page is refused even with the token: a browser lets it reach this machine's
// loopback, and nothing of ours is one. Without a token the host must be this machine's own: another name may have been made to point here.
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
		if v := recover(); v != nil { // gws's own: OnMessage has recovered ours. A frame with a length beyond 2^63 is enough
			s.warn(&s.impossible, "admin connection sent an impossible frame", zap.String("peer", c.peer))
			s.end(c, 1009)
		}
		_ = ws.NetConn().Close()
	}()
	ws.Session().Store(sessionKey, c)
	if !s.opened(c, ws) {
		return
	}
	c.stay(idleTime)
	ws.ReadLoop()
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
	case <-c.left:
		return
	case <-h.server.life.Done(): // it is being said goodbye to
		return
	}
	defer func() {
		if v := recover(); v != nil {
			h.server.cfg.Log.Error("panic on the admin port", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			h.server.end(c, 1011)
		}
		h.server.rested(c)
	}()
	c.stay(0)
	c.stay(h.server.command(c, m.Bytes()))
}
