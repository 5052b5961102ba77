package framework

import (
	"context"
	"errors"
	"hash/maphash"
	"net"
	"net/http"
	"sync"

	"go.uber.org/zap"

	"wsframe/framework/auth"
	"wsframe/framework/internal/accept"
	"wsframe/framework/internal/credentials"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
)

// entrance makes connections of the clients that may come in, and counts them until they end.
type entrance struct {
	server *Server
	greets []greet

	authenticate func(*accept.Handshake) (Identity, error) // see checker

	hub  *hub.Hub
	port *accept.Server

	number func() (int64, error) // the next connection number; see next
	opened func(c *hub.Conn)     // for the bookkeeping
	evicts func() bool           // other nodes are to have the clients now
	users  [64]sync.Mutex        // by user id: a user's connections are opened one after the other
}

// greet is an OnConnect, with the name of its controller.
type greet struct {
	name string
	call func(*Ctx) error
}

// checker says whose handshakes are. An error of an Authenticator that wraps ErrUnavailable becomes
// a 503.
func checker(check bool, tokens *auth.Tokens, own Authenticator) func(*accept.Handshake) (Identity, error) {
	cfg := credentials.Config{Check: check}
	if tokens != nil {
		cfg.Tokens = tokens.Verify
	}
	if own != nil {
		cfg.Own = func(ctx context.Context, h *accept.Handshake) (Identity, error) {
			id, err := own(newHandshake(ctx, h))
			if errors.Is(err, ErrUnavailable) {
				err = &accept.Refusal{Status: http.StatusServiceUnavailable, Reason: "the authenticator is unavailable", Cause: err}
			}
			return id, err
		}
	}
	return credentials.New(cfg).Authenticate
}

// unavailable is the reason why clients should go to other nodes; "" = they may come.
func (e *entrance) unavailable() string {
	if e.evicts() {
		return "the server is cut off from Redis"
	}
	return ""
}

// open makes a connection of a client that may come in.
func (e *entrance) open(h *accept.Handshake) error {
	return e.serve(h, session.New(history.ParsePositions(h.Request.URL.RawQuery)), e.server.sessions.Identify, func(c *hub.Conn) func() { return e.greeting(c, h) })
}

// next returns the number of a new connection.
func (e *entrance) next() (int64, error) {
	for {
		fd, err := e.number()
		if err != nil {
			return 0, &accept.Refusal{Status: http.StatusServiceUnavailable, Reason: "no connection number: is Redis reachable?", Cause: err}
		}
		if e.server.clients.Usable(fd) {
			e.server.clients.Came(fd)
			return fd, nil
		}
	}
}

// serve answers a handshake. opened is called once the connection is known here. The result of
// first, unless it is nil, runs before the first frame is read.
func (e *entrance) serve(h *accept.Handshake, s *session.Session, opened func(*hub.Conn), first func(*hub.Conn) func()) error {
	tcp, ok := h.Conn.(*net.TCPConn)
	if !ok {
		return errors.New("only TCP listeners can be served")
	}
	fd, err := e.next()
	if err != nil {
		return err
	}
	h.Request.Header.Set("Upgrade", "websocket") // gws reads no list
	c, err := e.hub.Accept(tcp, h.Early, fd, h.Identity, h.Remote, h.Protocol)
	if err != nil {
		e.port.Release(h.Remote)
		_ = tcp.Close()
		return nil
	}
	c.Data = s
	// A client may open its next connection as soon as it has the 101 of this one. That connection
	// must be recorded after this one.
	order := e.order(h.Identity.ID)
	order.Lock()
	defer order.Unlock()
	// State is written only when the 101 is on its way: a client that never reads it was never
	// here.
	if err := c.Serve(h.Request, func() {
		e.opened(c)
		opened(c)
	}, first(c)); err != nil {
		e.port.Release(h.Remote)
	}
	return nil
}

var userSeed = maphash.MakeSeed()

// order returns the lock under which connections of a user are opened.
func (e *entrance) order(uid string) *sync.Mutex {
	return &e.users[maphash.String(userSeed, uid)%uint64(len(e.users))]
}

// Closed implements hub.Handler.
func (e *entrance) Closed(c *hub.Conn, code int, reason string, rooms []string) {
	e.port.Release(c.Remote)
	if f := session.Of(c).Foreign; f != nil {
		f.Closed()
	}
	e.server.closer.Ended(c, code, reason, rooms)
}

// greeting runs every OnConnect; nil where there are none.
func (e *entrance) greeting(c *hub.Conn, h *accept.Handshake) func() {
	if len(e.greets) == 0 {
		return nil
	}
	shown := newHandshake(context.Background(), h)
	return func() {
		ctx := &Ctx{server: e.server, FD: c.FD, Auth: c.Auth, Method: "OnConnect", route: "OnConnect", conn: c, body: []byte("{}")}
		ctx.ending.reply(c) // nothing waits for a reply
		shown.ctx = ctx
		ctx.SetValue(handshakeKey{}, shown)
		for _, g := range e.greets {
			err := errPanic
			protect(e.server.log, "OnConnect of "+g.name, func() { err = g.call(ctx) })
			var fail *Fail
			switch {
			case err == nil:
				continue
			case errors.As(err, &fail):
				_ = push(c, failure(err, ctx.Log)) // the connection is closed in any case
				c.Close(CloseKicked, "refused")
			default:
				ctx.Log().Error("connect", zap.Error(err))
				c.Close(wire.CloseInternal, "internal error")
			}
			return
		}
	}
}

// echo is the handler of Options.Echo.
type echo struct{ *entrance }

func (echo) Message(c *hub.Conn, data []byte) { _ = c.Echo(data) }
