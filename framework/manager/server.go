package manager

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/lxzan/gws"
	"go.uber.org/zap"
)

// What the original answers (contract §5).
const (
	answerReload  = "服务即将重启"
	answerStop    = "服务即将关闭"
	answerUnknown = "指令无效"
	answerFormat  = "格式不符合规范"
)

const (
	maxMessage = 16 << 10
	maxConns   = 32
	idleTime   = 2 * time.Minute
	stopTime   = 3 * time.Second
)

// Config of a Server.
type Config struct {
	Backend Backend
	Token   string // what a client must show; "" = loopback peers only
	Log     *zap.Logger
}

// Server answers admin commands.
type Server struct {
	cfg  Config
	http *http.Server
	up   *gws.Upgrader

	mu    sync.Mutex
	conns map[*gws.Conn]struct{}
	work  sync.WaitGroup
}

// NewServer makes one; Serve starts it.
func NewServer(cfg Config) *Server {
	s := &Server{cfg: cfg, conns: map[*gws.Conn]struct{}{}}
	s.up = gws.NewUpgrader(&handler{server: s}, &gws.ServerOption{
		ReadMaxPayloadSize: maxMessage, CheckUtf8Enabled: true, Logger: quiet{}, Recovery: func(gws.Logger) {},
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
	err := s.http.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends all connections and waits for the commands that run.
func (s *Server) Close() {
	_ = s.http.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.NetConn().SetDeadline(time.Now().Add(stopTime)) // what it is being told may still go out
		_ = c.WriteClose(1001, nil)
	}
	s.mu.Unlock()
	s.work.Wait()
}

// accept lets in who may command: no pages, and only loopback peers or those that show the token.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) {
	refuse := func(why string, status int) {
		s.cfg.Log.Warn("admin connection refused", zap.String("why", why), zap.String("peer", r.RemoteAddr))
		http.Error(w, http.StatusText(status), status)
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		http.Error(w, "this port speaks WebSocket; use console -s status", http.StatusUpgradeRequired)
		return
	}
	if r.Header.Get("Origin") != "" {
		refuse("it comes from a web page", http.StatusForbidden)
		return
	}
	token := r.URL.Query().Get("token")
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		token = bearer
	}
	if s.cfg.Token == "" {
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || !net.ParseIP(host).IsLoopback() {
			refuse("not from this machine, and no token is configured", http.StatusForbidden)
			return
		}
	} else if !same(token, s.cfg.Token) {
		refuse("wrong token", http.StatusForbidden)
		return
	}
	s.mu.Lock()
	full := len(s.conns) >= maxConns
	s.mu.Unlock()
	if full {
		refuse("too many admin connections", http.StatusServiceUnavailable)
		return
	}
	c, err := s.up.Upgrade(w, r)
	if err != nil {
		return // gws has answered
	}
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.work.Go(func() { s.read(c, r.RemoteAddr) })
}

// same compares in constant time, lengths included.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func (s *Server) read(c *gws.Conn, peer string) {
	defer func() {
		if v := recover(); v != nil {
			s.cfg.Log.Error("panic on the admin port", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		}
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		_ = c.NetConn().Close()
	}()
	c.Session().Store("peer", peer)
	extend(c)
	c.ReadLoop()
}

func extend(c *gws.Conn) { _ = c.SetDeadline(time.Now().Add(idleTime)) }

type handler struct {
	gws.BuiltinEventHandler
	server *Server
}

func (h *handler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	extend(c)
	h.server.command(c, m.Bytes())
}

// request is a command frame. Format "json" is what our console asks for; without it the original's texts are answered.
type request struct {
	Method   string          `json:"method"`
	Format   string          `json:"format"`
	Text     string          `json:"text"`
	Param    json.RawMessage `json:"param"`
	Check    bool            `json:"check"`
	Graceful *bool           `json:"graceful"`
	Offset   int             `json:"offset"`
	Limit    int             `json:"limit"`
}

// text is what say sends: "text", or "param" as the original's console has it.
func (r *request) text() string {
	if r.Text != "" {
		return r.Text
	}
	var s string
	if json.Unmarshal(r.Param, &s) == nil {
		return s
	}
	return string(r.Param)
}

// commandTime bounds every command but a reload, which has limits of its own.
const (
	commandTime = 10 * time.Second
	reloadTime  = 5 * time.Minute
)

func (s *Server) command(c *gws.Conn, frame []byte) {
	var r request
	if err := json.Unmarshal(frame, &r); err != nil || r.Method == "" {
		_ = c.WriteString(answerFormat)
		_ = c.WriteClose(1007, nil)
		return
	}
	limit := commandTime
	if r.Method == "reload" {
		limit = reloadTime
		_ = c.SetDeadline(time.Now().Add(reloadTime + idleTime))
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	peer, _ := c.Session().Load("peer")
	s.cfg.Log.Info("admin command", zap.String("method", known(r.Method)), zap.Any("peer", peer))
	if r.Format == "json" {
		s.answerJSON(ctx, c, &r)
		return
	}
	s.answerText(ctx, c, &r)
}

func known(method string) string {
	switch method {
	case "status", "reload", "stop", "say", "connections", "nodes":
		return method
	}
	return "unknown"
}

func (s *Server) answerText(ctx context.Context, c *gws.Conn, r *request) {
	b := s.cfg.Backend
	var err error
	switch r.Method {
	case "status":
		var st Status
		if st, err = b.Status(ctx); err == nil {
			_ = c.WriteString(fmt.Sprintf("当前服务器共有 %d 个连接\n主进程PID: %d\n内存占用量: %d MB", st.Connections, st.MasterPID, st.MemoryBytes>>20))
		}
	case "reload":
		_ = c.WriteString(answerReload)
		_, err = b.Reload(ctx, false)
	case "stop":
		_ = c.WriteString(answerStop)
		err = b.Stop(ctx, r.Graceful == nil || *r.Graceful)
	case "say":
		_, err = b.Say(ctx, r.text())
	default:
		_ = c.WriteString(answerUnknown)
		_ = c.WriteClose(1008, nil)
	}
	if err != nil {
		s.cfg.Log.Error("admin command failed", zap.String("method", r.Method), zap.Error(err))
		_ = c.WriteString(err.Error())
	}
}

// result is the answer to a request of format json.
type result struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Data  any    `json:"data,omitempty"`
}

func (s *Server) answerJSON(ctx context.Context, c *gws.Conn, r *request) {
	b := s.cfg.Backend
	var data any
	var err error
	switch r.Method {
	case "status":
		data, err = b.Status(ctx)
	case "reload":
		data, err = b.Reload(ctx, r.Check)
	case "stop":
		err = b.Stop(ctx, r.Graceful == nil || *r.Graceful)
	case "say":
		data, err = b.Say(ctx, r.text())
	case "connections":
		data, err = b.Connections(ctx, max(r.Offset, 0), min(max(r.Limit, 1), 1000))
	case "nodes":
		data, err = b.Nodes(ctx)
	default:
		err = fmt.Errorf("unknown command %.40q", r.Method)
	}
	res := result{OK: err == nil, Data: data}
	if err != nil {
		s.cfg.Log.Error("admin command failed", zap.String("method", known(r.Method)), zap.Error(err))
		res.Error = err.Error()
	}
	out, err := json.Marshal(res)
	if err != nil {
		s.cfg.Log.Error("admin answer", zap.Error(err))
		return
	}
	_ = c.WriteMessage(gws.OpcodeText, out)
}
