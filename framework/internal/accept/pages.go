package accept

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// pages answers plain HTTP requests: a small page, and the static files. Server reads each
// request's head first, to see whether it is a handshake, and hands the others over.
type pages struct {
	server *http.Server
	feed   *feed
	start  sync.Once
	done   chan struct{}
}

const (
	frontPage = `<!doctype html><meta charset="utf-8"><title>wsframe</title>
<p>wsframe: this port speaks WebSocket.`
	demoLink = ` <a href="/static/">Demo</a>`
	pageEnd  = "</p>\n"
)

func newPages(cfg *Config) *pages {
	static := cfg.Static
	front := frontPage + pageEnd
	if static != nil {
		front = frontPage + demoLink + pageEnd
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, front) // an error concerns the client only
	})
	if static == nil {
		mux.Handle("GET /static/", http.NotFoundHandler())
	} else {
		files := http.FileServerFS(static)
		mux.Handle("GET /static/", http.StripPrefix("/static/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Cache-Control", "no-cache")
			files.ServeHTTP(w, r)
		})))
	}
	p := &pages{feed: &feed{conns: make(chan net.Conn), closed: make(chan struct{})}, done: make(chan struct{})}
	p.server = &http.Server{
		Handler: mux, ErrorLog: zap.NewStdLog(cfg.Log),
		ReadTimeout: cfg.HandshakeTimeout, WriteTimeout: 10 * time.Second,
		MaxHeaderBytes: cfg.HandshakeBytes,
	}
	// The next request may be an upgrade, which this server cannot serve.
	p.server.SetKeepAlivesEnabled(false)
	return p
}

// run answers what serve hands over, until close.
func (p *pages) run() {
	defer close(p.done)
	if err := p.server.Serve(p.feed); !errors.Is(err, http.ErrServerClosed) {
		p.server.ErrorLog.Print("static pages: ", err)
	}
}

// serve takes over a connection of which those bytes were read.
func (p *pages) serve(nc net.Conn, read []byte) {
	p.start.Do(func() { go p.run() })
	select {
	case p.feed.conns <- &replayed{Conn: nc, first: read}:
	case <-p.feed.closed:
		_ = nc.Close()
	}
}

func (p *pages) close() {
	p.start.Do(func() { close(p.done) }) // no page was served
	_ = p.server.Close()                 // cuts what is still open
	_ = p.feed.Close()
	<-p.done
}

// feed is a net.Listener whose connections are those that serve got.
type feed struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

func (f *feed) Close() error   { f.once.Do(func() { close(f.closed) }); return nil }
func (f *feed) Addr() net.Addr { return &net.TCPAddr{} }

// replayed reads the given bytes once more before those of the connection.
type replayed struct {
	net.Conn
	first []byte
}

func (r *replayed) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}
