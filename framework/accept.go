package framework

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"wsframe/framework/hub"
)

// Serve accepts on ln until StopAccepting. Several listeners may be served at once. It does not close connections.
func (a *App) Serve(ln net.Listener) error {
	a.mu.Lock()
	if a.stopping.Load() {
		a.mu.Unlock()
		return ln.Close()
	}
	a.listeners = append(a.listeners, ln)
	a.accepting.Add(1)
	a.mu.Unlock()
	defer a.accepting.Done()
	prepareListener(ln)
	var wait time.Duration
	var lastLog time.Time
	for {
		nc, err := ln.Accept()
		if err != nil {
			if a.stopping.Load() || errors.Is(err, net.ErrClosed) {
				return nil
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				a.waitPaused()
				continue
			}
			// Out of descriptors or memory: it helps nobody to ask again at once.
			wait = min(max(2*wait, 5*time.Millisecond), 500*time.Millisecond)
			if time.Since(lastLog) > time.Second {
				lastLog = time.Now()
				a.log.Error("accept", zap.Error(err), zap.Duration("next_try", wait))
			}
			time.Sleep(wait)
			continue
		}
		wait = 0
		tcp, ok := nc.(*net.TCPConn)
		if !ok {
			_ = nc.Close()
			return errors.New("only TCP listeners can be served")
		}
		a.accepting.Add(1)
		a.shaking.Add(1)
		go func() {
			defer a.accepting.Done()
			defer a.shaking.Add(-1)
			a.shake(tcp)
		}()
	}
}

// heads are the buffers that requests are read into.
var heads = sync.Pool{New: func() any { return new([]byte) }}

var parsers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }}

var (
	errHeadTooLarge = errors.New("request head is too large")
	headEnd         = []byte("\r\n\r\n")
)

// readHead reads until the blank line behind the request's headers. It returns all bytes that arrived and where the head
// ends: a client may have sent its first frame along.
func readHead(nc net.Conn, buf []byte) ([]byte, int, error) {
	n := 0
	for {
		m, err := nc.Read(buf[n:])
		from := max(0, n-3)
		n += m
		if i := bytes.Index(buf[from:n], headEnd); i >= 0 {
			return buf[:n], from + i + len(headEnd), nil
		}
		if n == len(buf) {
			return nil, 0, errHeadTooLarge
		}
		if n > 0 && !plausible(buf[0]) {
			return nil, 0, errors.New("not an HTTP request")
		}
		if err != nil {
			return nil, 0, err
		}
	}
}

// plausible tells whether a request line may begin with b: garbage is refused at its first byte.
func plausible(b byte) bool { return b >= 'A' && b <= 'Z' }

// shake handles one accepted connection until it is a WebSocket connection, an HTTP request, or refused.
func (a *App) shake(tcp *net.TCPConn) {
	defer func() {
		if v := recover(); v != nil {
			a.log.Error("panic in the handshake", zap.Any("panic", v), zap.Stack("stack"))
			_ = tcp.Close()
		}
	}()
	lim := &a.cfg.Limits
	_ = tcp.SetReadDeadline(time.Now().Add(lim.HandshakeTimeout)) // an error shows at the read
	p := heads.Get().(*[]byte)
	defer heads.Put(p)
	if len(*p) != lim.HandshakeBytes {
		*p = make([]byte, lim.HandshakeBytes)
	}
	data, end, err := readHead(tcp, *p)
	if err != nil {
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			refuse(tcp, http.StatusRequestTimeout)
		case errors.Is(err, errHeadTooLarge):
			refuse(tcp, http.StatusRequestHeaderFieldsTooLarge)
		case errors.Is(err, io.EOF):
			_ = tcp.Close()
		default:
			refuse(tcp, http.StatusBadRequest)
		}
		return
	}
	br := parsers.Get().(*bufio.Reader)
	br.Reset(bytes.NewReader(data[:end]))
	r, err := http.ReadRequest(br)
	parsers.Put(br)
	if err != nil {
		refuse(tcp, http.StatusBadRequest)
		return
	}
	remote := a.proxies.client(tcp.RemoteAddr(), r.Header)
	if r.Header.Get("Upgrade") == "" && r.Header.Get("Sec-WebSocket-Key") == "" {
		_ = tcp.SetReadDeadline(time.Time{})
		a.pages.serve(tcp, bytes.Clone(data))
		return
	}
	if !validUpgrade(r) {
		refuse(tcp, http.StatusBadRequest)
		return
	}
	if a.stopping.Load() || a.admitted.Add(1) > int64(lim.MaxConnections) && lim.MaxConnections > 0 {
		a.admitted.Add(-1)
		refuse(tcp, http.StatusServiceUnavailable)
		return
	}
	id, protocol, ok := a.admit(r, remote)
	if !ok {
		a.admitted.Add(-1)
		refuse(tcp, http.StatusForbidden)
		return
	}
	a.open(tcp, r, data[end:], id, remote, protocol)
}

// left gives back what admit took.
func (a *App) left(remote string) {
	a.admitted.Add(-1)
	a.refusals.left(remote)
}

// admit decides who may come in. All refusals look alike to the client.
func (a *App) admit(r *http.Request, remote string) (id Identity, protocol string, ok bool) {
	if a.refusals.blocked(remote) {
		return id, "", false
	}
	token, protocol := tokenOf(r)
	if !a.origins.allow(r) {
		a.log.Debug("handshake refused: origin", zap.String("remote", remote))
		a.refusals.refused(remote)
		return id, "", false
	}
	if a.cfg.Auth.Check {
		var err error
		if id, err = a.tokens.Verify(token); err != nil {
			a.log.Debug("handshake refused", zap.String("remote", remote), zap.Error(err))
			a.refusals.refused(remote)
			return id, "", false
		}
	} else if token != "" && a.tokens != nil {
		// The check is off: a good token still says who it is, a bad one says nothing.
		if known, err := a.tokens.Verify(token); err == nil {
			id = known
		}
	}
	if !a.refusals.entered(remote) {
		return id, "", false
	}
	return id, protocol, true
}

func (a *App) open(tcp *net.TCPConn, r *http.Request, early []byte, id Identity, remote, protocol string) {
	fd, err := a.node.NextFD()
	if err != nil {
		a.left(remote)
		a.log.Error("no connection number: is Redis reachable?", zap.Error(err))
		refuse(tcp, http.StatusServiceUnavailable)
		return
	}
	_ = tcp.SetReadDeadline(time.Time{})
	c, err := a.hub.Accept(tcp, early, fd, id, remote, protocol)
	if err != nil {
		a.left(remote)
		_ = tcp.Close()
		return
	}
	c.Data = &session{seen: parseSeen(r.URL.RawQuery)}
	// A user's newer connection must be noted behind the older one: it may come as soon as the client has the older one's 101.
	order := a.opening.of(id.ID)
	order.Lock()
	defer order.Unlock()
	// State is written only when the 101 is on its way: a client that never reads it was never here.
	if err := c.Serve(r, func() {
		a.node.Opened(a.entry(c, nil))
		a.identify(c)
	}, a.greeting(c)); err != nil {
		a.left(remote)
	}
}

// greeting runs every OnConnect; nil where there are none.
func (a *App) greeting(c *hub.Conn) func() {
	if !slices.ContainsFunc(a.router.mounted, func(t *Controller) bool { return t.hooks.connect != nil }) {
		return nil
	}
	return func() {
		ctx := &Ctx{Sender: &a.Sender, FD: c.FD, Auth: c.Auth, Method: "OnConnect", route: "OnConnect", conn: c, body: []byte("{}")}
		ctx.leave.Store(released)
		for _, t := range a.router.mounted {
			if t.hooks.connect == nil {
				continue
			}
			err := errPanic
			a.protect("OnConnect of "+t.name, func() { err = t.hooks.connect(ctx) })
			var fail *Fail
			switch {
			case err == nil:
				continue
			case errors.As(err, &fail):
				_ = a.push(c, a.failure(ctx, err)) // it is closed anyway
				c.Close(CloseKicked, "refused")
			default:
				ctx.Log().Error("connect", zap.Error(err))
				c.Close(hub.CloseInternal, "internal error")
			}
			return
		}
	}
}

// openings are locks by user id, for what must happen in one order for one user.
type openings [64]sync.Mutex

func (o *openings) of(id string) *sync.Mutex {
	return &o[maphash.String(openingSeed, id)%uint64(len(o))]
}

var openingSeed = maphash.MakeSeed()

// tokenOf finds the auth token: the query's auth, or the last Sec-WebSocket-Protocol offered, which proxies do not log.
// The protocol to answer is the first offered (RFC 6455 §4.2.2), so a client that offers "wsframe" before its
// token does not get the token back.
func tokenOf(r *http.Request) (token, protocol string) {
	var last string
	for _, line := range r.Header["Sec-Websocket-Protocol"] {
		for p := range strings.SplitSeq(line, ",") {
			if p = strings.TrimSpace(p); !httpguts.ValidHeaderFieldName(p) {
				continue
			}
			if last = p; protocol == "" {
				protocol = p
			}
		}
	}
	if q := r.URL.RawQuery; q != "" {
		// url.ParseQuery would turn + into a space, and the original's form needs none of its decoding but %XX.
		for pair := range strings.SplitSeq(q, "&") {
			if v, ok := strings.CutPrefix(pair, "auth="); ok {
				if token, err := url.PathUnescape(v); err == nil {
					v = token
				}
				return v, protocol
			}
		}
	}
	return last, protocol
}

// validUpgrade holds RFC 6455 §4.2.1 against the request.
func validUpgrade(r *http.Request) bool {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	return err == nil && len(key) == 16 &&
		r.Method == http.MethodGet && r.ProtoAtLeast(1, 1) && r.Host != "" &&
		r.Header.Get("Sec-WebSocket-Version") == "13" &&
		len(r.Header["Sec-Websocket-Key"]) == 1 && len(r.Header["Sec-Websocket-Version"]) == 1 &&
		httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket") &&
		httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade")
}
