package framework

import (
	"bytes"
	"errors"
	"fmt"
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

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
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

// shake handles one accepted connection until it is a WebSocket connection, a request for a page, or refused.
func (a *App) shake(tcp *net.TCPConn) {
	defer func() {
		if v := recover(); v != nil {
			a.log.Error("panic in the handshake", zap.Any("panic", v), zap.Stack("stack"))
			_ = tcp.Close()
		}
	}()
	_ = tcp.SetReadDeadline(time.Now().Add(a.cfg.Limits.HandshakeTimeout)) // an error shows at the read
	if !a.handshakes.begin(tcp) {
		_ = tcp.Close() // the server stops
		return
	}
	defer a.handshakes.end(tcp)
	p := heads.Get().(*[]byte)
	defer heads.Put(p)
	if len(*p) != a.cfg.Limits.HandshakeBytes {
		*p = make([]byte, a.cfg.Limits.HandshakeBytes)
	}
	data, end, err := readHead(tcp, *p)
	if err != nil {
		a.headFailed(tcp, err)
		return
	}
	r, err := parseHead(data[:end])
	if err != nil {
		a.refuseHandshake(tcp, refusalOf{status: http.StatusBadRequest, reason: reasonMalformed, remote: peerOf(tcp)})
		return
	}
	if !wantsWebSocket(r) {
		a.handshakes.end(tcp)
		_ = tcp.SetDeadline(time.Time{})
		a.pages.serve(tcp, bytes.Clone(data))
		return
	}
	remote := a.remoteOf(tcp, r.Header)
	reason := malformed(data[:end])
	if reason == "" {
		reason = notUpgrade(r)
	}
	if reason != "" {
		a.refuseHandshake(tcp, refusalOf{status: http.StatusBadRequest, reason: reason, remote: remote})
		return
	}
	id, protocol, refused := a.admit(r, remote)
	if refused.status != 0 {
		a.refuseHandshake(tcp, refused)
		return
	}
	a.handshakes.end(tcp) // from here on it is a connection
	a.open(tcp, r, data[end:], id, remote, protocol)
}

// headFailed ends a connection whose request head has not come whole.
func (a *App) headFailed(tcp *net.TCPConn, err error) {
	r := refusalOf{status: http.StatusBadRequest, reason: "this is not HTTP", remote: peerOf(tcp)}
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF):
		_ = tcp.Close()
		return
	case a.stopping.Load():
		r.status, r.reason = http.StatusServiceUnavailable, reasonStopping
	case errors.As(err, &timeout) && timeout.Timeout():
		r.status, r.reason = http.StatusRequestTimeout, "the request head took too long"
	case errors.Is(err, errHeadTooLarge):
		r.status, r.reason = http.StatusRequestHeaderFieldsTooLarge, errHeadTooLarge.Error()
	}
	a.refuseHandshake(tcp, r)
}

func peerOf(tcp *net.TCPConn) string {
	if addr, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
		return addr.AddrPort().Addr().Unmap().String()
	}
	return ""
}

// remoteOf is the client's address. A header of a trusted proxy that cannot be read has all its clients counted as one, so it is logged.
func (a *App) remoteOf(tcp *net.TCPConn, h http.Header) string {
	remote, unreadable := a.proxies.client(tcp.RemoteAddr(), h)
	if unreadable != "" {
		if n := a.unreadable.note(0, "", time.Now()); n > 0 {
			a.log.Warn("the trusted header of a proxy holds no address: its clients count as one", zap.String("trusted_header", a.proxies.header),
				zap.String("value", fmt.Sprintf("%.100q", unreadable)), zap.String("proxy", remote), zap.Int64("since_last", n))
		}
	}
	return remote
}

// left gives back what admit took.
func (a *App) left(remote string) {
	a.admitted.Add(-1)
	a.refusals.left(remote)
}

// admit decides who may come in. The zero refusal lets in. A token is checked whatever others at its address did; all refusals of one
// look alike to the client.
func (a *App) admit(r *http.Request, remote string) (id Identity, protocol string, no refusalOf) {
	token, protocol := tokenOf(r)
	forbidden := refusalOf{status: http.StatusForbidden, remote: remote}
	if !a.origins.allow(r) {
		forbidden.reason = "origin"
		return id, "", forbidden
	}
	if a.tokens != nil && (token != "" || a.cfg.Auth.Check) {
		known, err := a.tokens.Verify(token)
		if err == nil { // where the check is off, a good token still says who it is, and a bad one says nothing
			id = known
		} else if a.cfg.Auth.Check {
			forbidden.reason, forbidden.cause = "token", err
			return id, "", forbidden
		}
	}
	full := refusalOf{status: http.StatusServiceUnavailable, remote: remote}
	if a.stopping.Load() {
		full.reason = reasonStopping
		return id, "", full
	}
	if a.evicts() {
		full.reason = reasonCutOff
		return id, "", full
	}
	if max := a.cfg.Limits.MaxConnections; a.admitted.Add(1) > int64(max) && max > 0 {
		a.admitted.Add(-1)
		full.reason = "the server is full"
		return id, "", full
	}
	if !a.refusals.entered(remote) {
		a.admitted.Add(-1)
		forbidden.reason = "connections of one address"
		return id, "", forbidden
	}
	return id, protocol, no
}

func (a *App) open(tcp *net.TCPConn, r *http.Request, early []byte, id Identity, remote, protocol string) {
	fd, err := a.node.NextFD()
	if err != nil {
		a.left(remote)
		a.refuseHandshake(tcp, refusalOf{status: http.StatusServiceUnavailable, reason: "no connection number: is Redis reachable?", remote: remote, cause: err})
		return
	}
	_ = tcp.SetDeadline(time.Time{})
	r.Header.Set("Upgrade", "websocket") // gws reads no list
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
				c.Close(wire.CloseInternal, "internal error")
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
