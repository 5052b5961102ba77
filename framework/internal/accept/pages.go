package accept

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// pages answers the HTTP requests that are no handshakes, by the Pages of their door. Server reads
// the first head of each connection, to see what it is, and passes the connection on.
type pages struct {
	server *http.Server
	feed   *feed
	start  sync.Once
	done   chan struct{}
	plain  http.Handler // of doors without Pages: Config.Pages, and what is built in
	remote func(peer net.Addr, h http.Header) string
	// upgrade takes over a kept connection on which a handshake has come. read is the handshake's
	// head, and what came after it.
	upgrade func(conn Conn, d *door, read []byte)
	open    atomic.Int64 // connections
	drain   time.Duration
}

const (
	// pageIdle is how long a connection is kept for its next request.
	pageIdle = 60 * time.Second
	// pagePause is how long a client may neither take bytes of a response nor send bytes of a body.
	pagePause = 10 * time.Second
)

func newPages(cfg *Config) (*pages, error) {
	plain, err := ownPages(cfg.Pages, cfg.Static)
	if err != nil {
		return nil, err
	}
	p := &pages{feed: &feed{conns: make(chan net.Conn), closed: make(chan struct{})}, done: make(chan struct{}), plain: plain, drain: cmp.Or(cfg.Drain, pagePause)}
	p.server = &http.Server{
		Handler: http.HandlerFunc(p.serveHTTP), ErrorLog: zap.NewStdLog(cfg.Log),
		ReadHeaderTimeout: cfg.HandshakeTimeout, IdleTimeout: pageIdle,
		MaxHeaderBytes: cfg.HandshakeBytes,
		ConnContext:    func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, visitorKey{}, c) },
	}
	return p, nil
}

type visitorKey struct{}

// serveHTTP answers one request, by the handler of the door through which its connection came.
func (p *pages) serveHTTP(w http.ResponseWriter, r *http.Request) {
	v := r.Context().Value(visitorKey{}).(*visitor)
	if wantsWebSocket(r) { // the first request is none
		p.handOver(w, r, v)
		return
	}
	handler := v.door.Pages
	if handler == nil {
		handler = p.plain
	}
	r.RemoteAddr = remoteWithPort(p.remote(v.RemoteAddr(), r.Header), r.RemoteAddr)
	if r.ContentLength != 0 {
		r.Body = &body{ReadCloser: r.Body, conn: v}
		v.expectBody()
	}
	handler.ServeHTTP(w, r)
}

// remoteWithPort returns the client's address in the form of http.Request.RemoteAddr. The port is
// that of the peer, which may be a proxy.
func remoteWithPort(remote, peer string) string {
	_, port, _ := net.SplitHostPort(peer)
	return net.JoinHostPort(remote, port)
}

// handOver takes a handshake out of net/http. It is written anew: net/http does not give its bytes.
func (p *pages) handOver(w http.ResponseWriter, r *http.Request, v *visitor) {
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		w.Header().Set("Connection", "close")
		http.Error(w, "Bad Request: "+reasonBody, http.StatusBadRequest)
		return
	}
	_, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // net/http ends the connection
	}
	v.leave()
	_ = v.Conn.SetDeadline(time.Time{}) // upgrade sets its own
	read := fmt.Appendf(nil, "%s %s %s\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Proto, r.Host)
	head := &appender{read}
	_ = r.Header.Write(head) // it is memory
	read = append(head.b, "\r\n"...)
	rest, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	p.upgrade(v.Conn, v.door, append(read, rest...))
}

type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) { a.b = append(a.b, p...); return len(p), nil }

// run answers what serve passes on, until close.
func (p *pages) run() {
	defer close(p.done)
	if err := p.server.Serve(p.feed); !errors.Is(err, http.ErrServerClosed) {
		p.server.ErrorLog.Print("static pages: ", err)
	}
}

// serve takes over a connection of which those bytes were read.
func (p *pages) serve(nc Conn, d *door, read []byte) {
	p.start.Do(func() { go p.run() })
	v := &visitor{Conn: nc, door: d, read: read, pages: p}
	p.open.Add(1)
	select {
	case p.feed.conns <- v:
	case <-p.feed.closed:
		_ = v.Close()
	}
}

// keep sets whether connections wait for further requests. Those that wait are closed otherwise.
func (p *pages) keep(on bool) { p.server.SetKeepAlivesEnabled(on) }

// close waits for the requests that are answered, until ctx or the time for it ends.
func (p *pages) close(ctx context.Context) {
	p.start.Do(func() { close(p.done) }) // no page was served
	ctx, cancel := context.WithTimeout(ctx, p.drain)
	defer cancel()
	if p.server.Shutdown(ctx) != nil {
		_ = p.server.Close() // cuts what is still open
	}
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

// visitor is a connection of pages. It reads the given bytes once more before those of the
// connection, and bounds the time of each write unless the handler has set a deadline of its own.
type visitor struct {
	Conn
	door  *door
	read  []byte
	pages *pages

	writeBy atomic.Bool // the handler has set a deadline
	left    atomic.Bool // it is not counted any more
}

func (v *visitor) Read(p []byte) (int, error) {
	if len(v.read) > 0 {
		n := copy(p, v.read)
		v.read = v.read[n:]
		return n, nil
	}
	return v.Conn.Read(p)
}

func (v *visitor) Write(p []byte) (int, error) {
	if !v.writeBy.Load() {
		_ = v.Conn.SetWriteDeadline(time.Now().Add(pagePause)) // an error shows at the write
	}
	return v.Conn.Write(p)
}

func (v *visitor) SetWriteDeadline(t time.Time) error {
	v.writeBy.Store(!t.IsZero())
	return v.Conn.SetWriteDeadline(t)
}

func (v *visitor) Close() error {
	v.leave()
	return v.Conn.Close()
}

// leave ends the count of the connection.
func (v *visitor) leave() {
	if !v.left.Swap(true) {
		v.pages.open.Add(-1)
	}
}

func (v *visitor) expectBody() { _ = v.Conn.SetReadDeadline(time.Now().Add(pagePause)) }

// body is a request's body. Who sends nothing of it for pagePause is cut, also where the handler
// does not read it and net/http discards it.
type body struct {
	io.ReadCloser
	conn *visitor
}

func (b *body) Read(p []byte) (int, error) {
	b.conn.expectBody()
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) { // net/http waits for the client's end now
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}
