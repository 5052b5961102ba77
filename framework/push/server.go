package push

import (
	"context"
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

// maxRequests are served at once; of more, each gets CodeUnavailable.
const maxRequests = 512

// Config of a Server. Zero means the default.
type Config struct {
	Backend Backend
	Store   Store

	// Tokens give access. Without any, only processes of this machine have it.
	Tokens []Token
	// RateLimit bounds the requests a second of each token; 0 = no bound.
	RateLimit int
	// RefusedRate is how many wrong tokens a second from one address get CodeUnauthorized. Beyond
	// it they get CodeRateLimited; 0 = no bound.
	RefusedRate int
	// MaxBody bounds a request's body in bytes; 0 = 1 MiB.
	MaxBody int
	// KeptBytes bounds the responses kept for the Idempotency-Keys of one token in ten minutes;
	// 0 = no bound.
	KeptBytes int

	// OnlineCount makes the server push the number of online users to all clients when it changes.
	OnlineCount bool
	// Ready is asked by GET /readyz and GET /healthz, which respond with 503 while it returns
	// false; nil = always ready.
	Ready func() bool
	// Metrics writes GET /metrics in Prometheus's text format; nil = there is no such page.
	Metrics func(io.Writer) error

	Log *zap.Logger // nil = none
}

// Server is the HTTP port. It is safe for concurrent use.
type Server struct {
	http   *http.Server
	log    *zap.Logger
	places chan struct{} // a request holds one
	conns  *conns
	door   *door
	gate   *gate
	once   *once
	online *onlineCount // nil = not wanted

	mu sync.Mutex // of what begins and ends: ln, online, and changes of the gate
	ln *socket.Pausable
}

// NewServer makes a Server; Serve starts it.
func NewServer(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 1 << 20
	}
	report := &reporter{cfg.Backend, cfg.Log}
	conns := newConns()
	s := &Server{
		log: cfg.Log, places: make(chan struct{}, maxRequests), conns: conns, gate: &gate{},
		door: &door{newAccess(cfg.Tokens, cfg.RateLimit, cfg.KeptBytes), newRefusals(cfg.RefusedRate, cfg.Log), conns},
		once: &once{cfg.Store, newRetrier(), report},
	}
	if cfg.OnlineCount {
		s.online = &onlineCount{backend: cfg.Backend, store: cfg.Store, report: report}
	}
	mux := http.NewServeMux()
	mux.Handle("/api/v1/{method}", &calls{s.door, s.gate, s.once, cfg.Backend, report, cfg.MaxBody})
	mux.Handle("GET /openapi.json", document(s.door))
	mux.Handle("GET /livez", health(nil))
	mux.Handle("GET /readyz", health(cfg.Ready))
	mux.Handle("GET /healthz", health(cfg.Ready))
	if cfg.Metrics != nil {
		mux.Handle("GET /metrics", &metrics{s.door, cfg.Metrics})
	}
	mux.Handle("/", &form{s.door, s.gate, cfg.Backend, report, cfg.MaxBody})
	s.http = &http.Server{
		Handler: s.guard(mux), ConnState: s.conns.track, ConnContext: s.conns.context,
		ErrorLog:          zap.NewStdLog(cfg.Log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
	}
	return s
}

// guard bounds how many requests are served at once, and responds where a handler panics.
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
				s.log.Error("panic in the push port", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
				write(w, problem(fail(CodeInternal, "internal error"), nil))
			}
		}()
		defer s.conns.serve(r)()
		next.ServeHTTP(w, r)
	})
}

// Serve accepts connections on ln until Shutdown. It may be called once.
func (s *Server) Serve(ln *net.TCPListener) error {
	l := socket.NewPausable(ln)
	s.mu.Lock()
	if s.gate.hasEnded() {
		s.mu.Unlock()
		return ln.Close()
	}
	s.ln = l
	if s.gate.isOpen() {
		s.online.start()
	} else {
		l.Pause()
	}
	s.mu.Unlock()
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// pauseTime is how long Pause waits for requests under way. Later they run beside those of the
// successor.
const pauseTime = 1500 * time.Millisecond

// Pause ends the requests of this server and leaves new connections, which wait in the kernel's
// queue, to whoever shares the listener. No connection is refused. Pause returns when all requests
// have ended, or after 1.5 s; requests that come later on slow connections wait for Resume or
// Shutdown, of which one must follow.
func (s *Server) Pause() {
	s.mu.Lock()
	if !s.gate.isOpen() {
		s.mu.Unlock()
		return
	}
	var resting <-chan struct{}
	if s.ln != nil {
		resting = s.ln.Pause()
	}
	s.online.stop()
	s.mu.Unlock()
	s.http.SetKeepAlivesEnabled(false) // closes idle connections
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
	s.gate.close()
}

// busy tells whether requests are under way, or are about to come on connections that have just
// been accepted.
func (s *Server) busy() bool { return s.gate.busy() || s.conns.busy() }

// Resume undoes Pause.
func (s *Server) Resume() {
	s.http.SetKeepAlivesEnabled(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate.open() && s.ln != nil {
		s.ln.Resume()
		s.online.start()
	}
}

// Shutdown closes the listener and waits until the requests under way have their responses, or ctx
// is done. Requests that wait since a Pause get CodeUnavailable.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.gate.end()
	s.online.stop()
	s.mu.Unlock()
	err := s.http.Shutdown(ctx)
	s.once.retries.end(ctx)
	return err
}

// Stats are a server's figures since it was made.
type Stats struct {
	Connections int   // open now
	Displaced   int64 // connections that were closed to make room for others
	// Refused counts requests without the right to call, by CodeForbidden and CodeUnauthorized.
	Refused map[Code]int64
}

// Stats returns the figures.
func (s *Server) Stats() Stats {
	open, displaced := s.conns.count()
	return Stats{open, displaced, s.door.refused.counts()}
}
