package framework

import (
	"context"
	"net/http"
	"net/url"

	"wsframe/framework/internal/accept"
)

// Authenticator says who a client is, by anything of its handshake: a session cookie of a web site,
// a key of a device, a token of another system. An error refuses the client, who learns nothing
// more than 403; it is logged, at most once a minute. An error that wraps ErrUnavailable is
// answered with 503, after which clients try again. The identity must be valid
// (auth.Identity.Validate).
//
// Built-in tokens come first: an Authenticator is not asked about a token that is valid, or that
// has the form of a built-in one. It may wait for a database: at most 64 calls run at a time, 16 of
// them for one address, and others wait up to limits.handshake_timeout. Safe for concurrent use.
type Authenticator func(h *Handshake) (Identity, error)

// Handshake is what a client has sent to come in. Its size is that of the request's head, at most
// limits.handshake_bytes. Nothing of it is kept with the connection: OnConnect puts what is needed
// later into the session.
type Handshake struct {
	Path   string // of the URL, decoded
	Remote string // the client's address, from a trusted proxy's header where there is one
	Token  string // from the query's auth, an Authorization: Bearer header, or the last subprotocol

	request *http.Request
	ctx     context.Context
}

func newHandshake(ctx context.Context, h *accept.Handshake) *Handshake {
	return &Handshake{Path: h.Request.URL.Path, Remote: h.Remote, Token: h.Token, request: h.Request, ctx: ctx}
}

// Context ends with the time that the handshake may take.
func (h *Handshake) Context() context.Context { return h.ctx }

// Query returns the parameters of the URL.
func (h *Handshake) Query() url.Values { return h.request.URL.Query() }

// Header returns the value of a header, in any case of its name. It is "" where the header came
// more than once: the values may come from the client and from a proxy.
func (h *Handshake) Header(name string) string {
	if values := h.request.Header.Values(name); len(values) == 1 {
		return values[0]
	}
	return ""
}

// Cookie returns the value of a cookie. It is "" where the cookie came with several values: another
// host of the domain can have set one of them.
func (h *Handshake) Cookie(name string) string {
	value := ""
	for i, c := range h.request.CookiesNamed(name) {
		if i > 0 && c.Value != value {
			return ""
		}
		value = c.Value
	}
	return value
}

type handshakeKey struct{}

// HandshakeOf returns the handshake of a new connection in its OnConnect; nil elsewhere.
func HandshakeOf(ctx context.Context) *Handshake {
	h, _ := ctx.Value(handshakeKey{}).(*Handshake)
	return h
}
