package push

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/library/socket"
)

// callTime is how long one request may take once it has been read.
const callTime = 5 * time.Second

const (
	maxRequests = 512  // are served at once; more are told to try again
	maxConns    = 2048 // are open at once; for more those that wait longest for a request are closed
)

// Config of a Server.
type Config struct {
	Backend     Backend
	Store       Store
	Tokens      []Token               // none = only this machine's processes
	RateLimit   int                   // requests a second of one token; 0 = any
	RefusedRate int                   // wrong tokens of one address a second that are answered as such; 0 = any
	MaxBody     int                   // bytes of a request; 1 MiB
	KeptBytes   int                   // of answers kept for the Idempotency-Keys of one token in ten minutes; 0 = any
	OnlineCount bool                  // tell all clients how many are online
	Ready       func() bool           // GET /healthz answers 503 while it says no; nil = always ready
	Metrics     func(io.Writer) error // GET /metrics, in Prometheus's text format; nil = there is none
	Log         *zap.Logger
}

// Server is the HTTP port.
type Server struct {
	cfg    Config
	access *access
	http   *http.Server
	places chan struct{} // a request holds one

	keeping *keeping
	conns   *conns
	refused *refusals

	mu     sync.Mutex
	ln     *socket.Pausable
	acting int           // requests that are at the Backend
	paused chan struct{} // not nil: requests wait for its close
	online *watch        // nil while it does not run
	over   bool
}

// NewServer makes a Server; Serve starts it.
func NewServer(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 1 << 20
	}
	s := &Server{cfg: cfg, access: newAccess(cfg.Tokens, cfg.RateLimit, cfg.KeptBytes), keeping: newKeeping(), conns: newConns(), refused: newRefusals(cfg.RefusedRate, cfg.Log), places: make(chan struct{}, maxRequests)}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/{method}", s.api)
	mux.HandleFunc("GET /openapi.json", s.document)
	mux.HandleFunc("GET /healthz", s.health)
	if cfg.Metrics != nil {
		mux.HandleFunc("GET /metrics", s.metrics)
	}
	mux.HandleFunc("/", s.form)
	s.http = &http.Server{
		Handler: s.guard(mux), ConnState: s.conns.track, ConnContext: s.conns.context, ErrorLog: zap.NewStdLog(cfg.Log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
	}
	return s
}

// health answers probes: 503 where clients should go to another server.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	text := "ok\n"
	if s.cfg.Ready != nil && !s.cfg.Ready() {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = "cut off from Redis\n"
	}
	_, _ = io.WriteString(w, text) // the prober's loss
}

// Serve accepts on ln until Shutdown; it does so once.
func (s *Server) Serve(ln *net.TCPListener) error {
	l := socket.NewPausable(ln)
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return ln.Close()
	}
	s.ln = l
	if s.paused != nil {
		l.Pause()
	} else {
		s.watch()
	}
	s.mu.Unlock()
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// busy tells whether requests are under way, or are about to come on connections that have just been accepted.
func (s *Server) busy() bool {
	s.mu.Lock()
	acting := s.acting
	s.mu.Unlock()
	return acting > 0 || s.conns.busy()
}

const (
	pauseTime = 1500 * time.Millisecond // for requests under way to end; those that do not go on beside what follows
	newTime   = 200 * time.Millisecond  // for the request of a connection that was accepted
)

// Pause has this server's requests end, and leaves new connections to whoever shares the listener: until then they wait in the kernel's
// queue, and none is refused. It returns when all have ended, or after pauseTime; requests that come later on connections that
// were slow wait. Resume or Shutdown follows.
func (s *Server) Pause() {
	s.mu.Lock()
	if s.paused != nil || s.over {
		s.mu.Unlock()
		return
	}
	var resting <-chan struct{}
	if s.ln != nil {
		resting = s.ln.Pause()
	}
	s.unwatch()
	s.mu.Unlock()
	s.http.SetKeepAlivesEnabled(false) // it closes idle connections
	end := time.Now().Add(pauseTime)
	if resting != nil {
		select {
		case <-resting:
		case <-time.After(pauseTime):
		}
	}
	for s.busy() && time.Now().Before(end) {
		time.Sleep(2 * time.Millisecond)
	}
	s.mu.Lock()
	s.paused = make(chan struct{})
	s.mu.Unlock()
}

// Resume undoes Pause.
func (s *Server) Resume() {
	s.http.SetKeepAlivesEnabled(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused == nil || s.over {
		return
	}
	s.release()
	if s.ln != nil {
		s.ln.Resume()
		s.watch()
	}
}

// release lets waiting requests in. s.mu is held.
func (s *Server) release() {
	if s.paused != nil {
		close(s.paused)
		s.paused = nil
	}
}

// Shutdown closes the listener and waits until the requests under way have their answers. Those that a Pause has kept waiting are told to
// try again.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.over = true
	s.unwatch()
	s.release()
	s.mu.Unlock()
	err := s.http.Shutdown(ctx)
	s.keeping.end(ctx)
	return err
}

// enter lets a request act; leave must follow where there is no error.
func (s *Server) enter(ctx context.Context) *Error {
	for {
		s.mu.Lock()
		paused, over := s.paused, s.over
		if paused == nil && !over {
			s.acting++
		}
		s.mu.Unlock()
		if over {
			return fail(CodeUnavailable, "the server ends; nothing was done")
		}
		if paused == nil {
			return nil
		}
		select {
		case <-paused:
		case <-ctx.Done():
			return fail(CodeUnavailable, "the server is being replaced; nothing was done")
		}
	}
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acting--
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
		defer s.conns.serve(r)()
		next.ServeHTTP(w, r)
	})
}

// metrics is GET /metrics, for who may read.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	c, e := s.caller(w, r)
	switch {
	case e != nil:
	case !c.may(ScopeRead):
		e = fail(CodeForbidden, "this needs a token with the scope %s", ScopeRead)
	case !c.rate.take(1):
		e = fail(CodeRateLimited, "more than %d requests a second", s.cfg.RateLimit)
	}
	if e != nil {
		write(w, problem(e, nil))
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_ = s.cfg.Metrics(w) // the caller's loss
}

// Stats are a server's figures since it was made.
type Stats struct {
	Connections int            // open ones
	Displaced   int64          // connections that gave way to others
	Refused     map[Code]int64 // requests of those who may not call: CodeForbidden, CodeUnauthorized
}

// Stats tells them. It is safe for concurrent use.
func (s *Server) Stats() Stats {
	open, displaced := s.conns.count()
	return Stats{open, displaced, s.refused.counts()}
}

// caller is who asks. Whoever may not is refused, and the connection ends: it would only keep others out.
func (s *Server) caller(w http.ResponseWriter, r *http.Request) (*caller, *Error) {
	c, e := s.access.of(r)
	if e == nil {
		s.conns.know(r)
		return c, nil
	}
	w.Header().Set("Connection", "close")
	return nil, s.refused.add(r.RemoteAddr, e)
}

type envelope struct {
	Result any    `json:"result,omitempty"`
	Error  *Error `json:"error,omitempty"`
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
	decorate(h, a.status)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the caller's loss
}

func decorate(h http.Header, status int) {
	h.Set("X-Content-Type-Options", "nosniff")
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	}
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
