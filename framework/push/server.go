package push

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
)

// callTime is how long one request may take once it has been read.
const callTime = 5 * time.Second

// maxRequests is how many are served at once; more are told to try again.
const maxRequests = 512

// Config of a Server.
type Config struct {
	Backend     Backend
	Store       Store
	Tokens      []Token // none = only this machine's processes
	RateLimit   int     // requests a second of one token; 0 = any
	MaxBody     int     // bytes of a request; 1 MiB
	OnlineCount bool    // tell all clients how many are online
	Log         *zap.Logger
}

// Server is the HTTP port.
type Server struct {
	cfg    Config
	access *access
	http   *http.Server
	places chan struct{} // a request holds one

	gate sync.RWMutex // requests hold it for reading while they act; Pause holds it
	mu   sync.Mutex
	ln   *listener
	stop context.CancelFunc // of watchOnline; nil while it does not run
	over bool
}

// NewServer makes a Server; Serve starts it.
func NewServer(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 1 << 20
	}
	s := &Server{cfg: cfg, access: newAccess(cfg.Tokens, cfg.RateLimit), places: make(chan struct{}, maxRequests)}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/{method}", s.api)
	mux.HandleFunc("GET /openapi.json", s.document)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("/", s.form)
	s.http = &http.Server{
		Handler: s.guard(mux), ErrorLog: zap.NewStdLog(cfg.Log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
	}
	return s
}

// Serve accepts on ln until Shutdown; it does so once.
func (s *Server) Serve(ln *net.TCPListener) error {
	l := &listener{TCPListener: ln, open: make(chan struct{})}
	close(l.open)
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return ln.Close()
	}
	s.ln = l
	s.watch()
	s.mu.Unlock()
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// watch starts watchOnline. s.mu is held.
func (s *Server) watch() {
	if s.cfg.OnlineCount && s.stop == nil {
		var ctx context.Context
		ctx, s.stop = context.WithCancel(context.Background())
		go s.watchOnline(ctx)
	}
}

func (s *Server) unwatch() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// Pause lets no request act from now on: those under way end first, which callTime bounds, others wait, and new connections are left to
// whoever shares the listener. Resume or Shutdown must follow.
func (s *Server) Pause() {
	s.mu.Lock()
	if s.ln != nil {
		s.ln.pause()
	}
	s.unwatch()
	s.mu.Unlock()
	s.http.SetKeepAlivesEnabled(false) // it closes idle connections
	s.gate.Lock()
}

// Resume undoes Pause.
func (s *Server) Resume() {
	s.gate.Unlock()
	s.http.SetKeepAlivesEnabled(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln != nil && !s.over {
		s.ln.resume()
		s.watch()
	}
}

// Shutdown closes the listener and waits until the requests under way have their answers. paused tells that Pause was called: requests that
// wait are told to try again.
func (s *Server) Shutdown(ctx context.Context, paused bool) error {
	s.mu.Lock()
	s.over = true
	s.unwatch()
	if s.ln != nil {
		s.ln.resume()
	}
	s.mu.Unlock()
	if paused {
		s.gate.Unlock()
	}
	return s.http.Shutdown(ctx)
}

func (s *Server) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// listener can leave new connections to other processes for a while.
type listener struct {
	*net.TCPListener

	mu   sync.Mutex
	open chan struct{} // closed while it accepts
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.TCPListener.Accept()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
		l.mu.Lock()
		open := l.open
		l.mu.Unlock()
		<-open
	}
}

func (l *listener) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = make(chan struct{})
	_ = l.SetDeadline(time.Unix(1, 0)) // a closed one ends Accept anyway
}

func (l *listener) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.SetDeadline(time.Time{}) // likewise
	select {
	case <-l.open:
	default:
		close(l.open)
	}
}

// guard bounds how many requests are served at once, and answers for what panics.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.places <- struct{}{}:
			defer func() { <-s.places }()
		default:
			write(w, problem(fail(CodeUnavailable, "too many requests at once"), nil))
			return
		}
		defer func() {
			if v := recover(); v != nil {
				s.cfg.Log.Error("panic in the push port", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
				write(w, problem(fail(CodeInternal, "internal error"), nil))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// api is POST /api/v1/{method}.
func (s *Server) api(w http.ResponseWriter, r *http.Request) {
	a, e := s.call(w, r)
	if e != nil {
		a = problem(e, nil)
	}
	write(w, a)
}

func (s *Server) call(w http.ResponseWriter, r *http.Request) (answer, *Error) {
	c, e := s.access.of(r)
	if e != nil {
		return answer{}, e
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return answer{}, fail(CodeNotAllowed, "calls are made by POST")
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return answer{}, fail(CodeMediaType, "the Content-Type must be application/json")
	}
	if !c.rate.take(1) {
		return answer{}, fail(CodeRateLimited, "more than %d requests a second", s.cfg.RateLimit)
	}
	name := r.PathValue("method")
	changes := true
	if name != "batch" {
		m := findMethod(name)
		if m == nil {
			return answer{}, fail(CodeUnknownMethod, "there is no such method; GET /openapi.json lists them")
		}
		name, changes = m.name, m.changes()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.cfg.MaxBody)))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return answer{}, fail(CodeTooLarge, "the body has more than %d bytes", large.Limit)
	case err != nil:
		return answer{}, fail(CodeBadRequest, "the body ends too soon")
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed() {
		return answer{}, fail(CodeUnavailable, "the server ends; nothing was done")
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	do := func() (answer, Code) {
		if name == "batch" {
			return s.batch(ctx, c, body), ""
		}
		result, e := s.invoke(ctx, c, name, body)
		if e != nil {
			return problem(e, result), e.Code
		}
		return success(result), ""
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" && changes {
		return s.once(ctx, key, c, name, body, do)
	}
	a, _ := do()
	return a, nil
}

// invoke does one call. Where not all nodes have answered there is both a result and an error.
func (s *Server) invoke(ctx context.Context, c *caller, name string, body []byte) (any, *Error) {
	m := findMethod(name)
	if m == nil {
		return nil, fail(CodeUnknownMethod, "there is no method %.64q", name)
	}
	if !c.may(m.scope) {
		return nil, fail(CodeForbidden, "%s needs a token with the scope %s", m.name, m.scope)
	}
	result, err := m.call(ctx, s.cfg.Backend, body)
	if err == nil {
		return result, nil
	}
	e, cause := errorOf(s.cfg.Backend, err)
	if cause != nil {
		s.warn(m.name, cause)
	}
	if e.Code != CodePartial {
		result = nil
	}
	return result, e
}

type batchIn struct {
	Calls []batchCall `json:"calls" is:"calls" doc:"1 to 100 calls, done one after the other"`
}

type batchCall struct {
	Method string          `json:"method" is:"method" doc:"any other method"`
	Params json.RawMessage `json:"params,omitempty" doc:"its body"`
}

type envelope struct {
	Result any    `json:"result,omitempty"`
	Error  *Error `json:"error,omitempty"`
}

type batchOut struct {
	Results []envelope `json:"results" doc:"one for each call, with result or error"`
}

var batchFields = fieldsOf(reflectType[batchIn]())

// batch does several calls; one that fails does not stop the others.
func (s *Server) batch(ctx context.Context, c *caller, body []byte) answer {
	var in batchIn
	if e := decode(body, batchFields, &in); e != nil {
		return problem(e, nil)
	}
	if n := len(in.Calls) - 1; n > 0 && !c.rate.take(n) {
		return problem(fail(CodeRateLimited, "more than %d requests a second", s.cfg.RateLimit), nil)
	}
	out := batchOut{Results: make([]envelope, len(in.Calls))}
	for i, call := range in.Calls {
		if len(call.Params) == 0 {
			call.Params = json.RawMessage("{}")
		}
		result, e := s.invoke(ctx, c, call.Method, call.Params)
		if e == nil && result == nil {
			result = nothing{}
		}
		out.Results[i] = envelope{result, e}
	}
	return success(out)
}

func success(result any) answer { return encode(http.StatusOK, envelope{Result: result}) }

func problem(e *Error, result any) answer {
	return encode(e.Code.Status(), envelope{Result: result, Error: e})
}

func encode(status int, v envelope) answer {
	body, err := json.Marshal(v)
	if err != nil { // a session value that is no JSON cannot have come in
		return answer{http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"internal error"}}`)}
	}
	return answer{status, append(body, '\n')}
}

func write(w http.ResponseWriter, a answer) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	switch a.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusConflict:
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the caller's loss
}

// note logs what a form's fail cannot tell.
func (s *Server) note(what string, err error) {
	if e, cause := errorOf(s.cfg.Backend, err); cause != nil || e.Code == CodeQueueFull {
		s.warn(what, err)
	}
}

func (s *Server) warn(what string, err error) {
	s.cfg.Log.Warn("push port", zap.String("call", what), zap.Error(err))
}
