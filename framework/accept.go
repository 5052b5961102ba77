package framework

import (
	"errors"
	"hash/maphash"
	"net"
	"net/http"
	"slices"
	"sync"

	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/internal/accept"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
)

// acceptConfig is what the outside port needs of the rest.
func (a *App) acceptConfig(o *Options) accept.Config {
	lim := &a.cfg.Limits
	return accept.Config{
		HandshakeTimeout: lim.HandshakeTimeout, HandshakeBytes: lim.HandshakeBytes,
		MaxConnections: lim.MaxConnections, ConnectionsPerIP: lim.ConnectionsPerIP, RefusedRate: lim.RefusedRate,
		Origins: a.cfg.Origins, AllowNoOrigin: a.cfg.AllowNoOrigin, TrustedProxies: a.cfg.TrustedProxies, TrustedHeader: a.cfg.TrustedHeader,
		Static: o.Static, Log: a.log, Authenticate: a.authenticate, Unavailable: a.unavailable, Open: a.open,
	}
}

// Serve accepts on ln until StopAccepting. Several listeners may be served at once. It does not
// close connections.
func (a *App) Serve(ln net.Listener) error { return a.accept.Serve(ln) }

// StopAccepting closes the listeners of this process and ends the handshakes that are under way.
func (a *App) StopAccepting() { a.accept.Stop() }

// Pause has accepting wait, as a Transfer does anyway. Transfer or Resume follows.
func (a *App) Pause() { a.accept.Pause() }

// Resume accepts again after a Pause, or after a Transfer, which leaves an App without connections.
func (a *App) Resume() {
	a.hub.Thaw()
	a.accept.Resume()
}

// Counted is how often something has happened since this worker started.
type Counted = api.Counted

// Refused counts the handshakes that were not let in, by HTTP status and reason.
func (a *App) Refused() []Counted { return a.accept.Refused() }

// ClosedByServer counts the connections that the server closed, by close code and reason.
func (a *App) ClosedByServer() []Counted { return a.closer.Counts.List() }

// authenticate tells whose token it is. Where the check is off a good token still says who it is,
// and a bad one says nothing.
func (a *App) authenticate(token string) (id Identity, err error) {
	check := a.cfg.Auth.Check
	if a.tokens == nil || token == "" && !check {
		return id, nil
	}
	if id, err = a.tokens.Verify(token); err != nil && !check {
		return Identity{}, nil
	}
	return id, err
}

// unavailable tells why other nodes are to have the clients now; "" = they may come.
func (a *App) unavailable() string {
	if a.isolation.Evicts() {
		return "the server is cut off from Redis"
	}
	return ""
}

// open makes a connection of a client that may come in.
func (a *App) open(h *accept.Handshake) error {
	tcp, ok := h.Conn.(*net.TCPConn)
	if !ok {
		return errors.New("only TCP listeners can be served")
	}
	fd, err := a.node.NextFD()
	if err != nil {
		return &accept.Refusal{Status: http.StatusServiceUnavailable, Reason: "no connection number: is Redis reachable?", Cause: err}
	}
	h.Request.Header.Set("Upgrade", "websocket") // gws reads no list
	c, err := a.hub.Accept(tcp, h.Early, fd, h.Identity, h.Remote, h.Protocol)
	if err != nil {
		a.accept.Release(h.Remote)
		_ = tcp.Close()
		return nil
	}
	c.Data = session.New(history.ParsePositions(h.Request.URL.RawQuery))
	// A user's newer connection must be noted behind the older one: it may come as soon as the
	// client has the older one's 101.
	order := a.opening.of(h.Identity.ID)
	order.Lock()
	defer order.Unlock()
	// State is written only when the 101 is on its way: a client that never reads it was never
	// here.
	if err := c.Serve(h.Request, func() {
		a.node.Opened(session.Entry(c, nil))
		a.sessions.Identify(c)
	}, a.greeting(c)); err != nil {
		a.accept.Release(h.Remote)
	}
	return nil
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
