package framework

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"

	"go.uber.org/zap"

	"wsframe/framework/internal/accept"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/pages"
	"wsframe/framework/socketio"
	"wsframe/library/config"
)

// SocketIO has unmodified pages of web-msg-sender, and other clients of socket.io, reach this node
// (package socketio). Their connections count and get pushes like all others. Their messages are
// not routed: a page can only log in.
type SocketIO struct {
	Origins  []string // pages that may connect; "*" = all
	AnyLogin bool     // a page may log in as any user, and needs no token

	// Online returns the param of the last update_online_count, with which a login is answered; nil
	// = none is known. It may wait for the store. A nil function: logins are not answered.
	Online func() json.RawMessage
}

// pageDoor makes connections of socket.io pages.
type pageDoor struct {
	*entrance
	cfg    *SocketIO
	pages  *pages.Pages
	engine *socketio.Engine
}

// newPageDoor makes the door. Without cfg it serves no listener, and takes over what a reload
// moves.
func newPageDoor(e *entrance, cfg *SocketIO, lim *config.Limits, log *zap.Logger) *pageDoor {
	d := &pageDoor{entrance: e, cfg: cfg}
	c := pages.Config{
		JSONDepth: lim.JSONDepth, Log: log,
		Bind: func(c *hub.Conn, uid string) error { return e.server.sessions.Bind(c, uid) },
	}
	if d.cfg != nil {
		c.AnyLogin, c.Online = d.cfg.AnyLogin, d.cfg.Online
	}
	d.pages = pages.New(c)
	d.engine = socketio.New(socketio.Config{Backend: d, MessageBytes: lim.MessageBytes})
	return d
}

func (d *pageDoor) serveOn(ln net.Listener) error {
	if d.cfg == nil {
		return errors.Join(errors.New("socket.io is not configured"), ln.Close())
	}
	return d.port.ServeAs(ln, accept.Policy{
		Origins: d.cfg.Origins, AllowNoOrigin: true, // browsers send none with a GET to the same host
		Authenticate: d.authenticate, Unavailable: d.unavailable, Open: d.open, Pages: d.engine,
		Resumes: func(r *http.Request) bool { return r.URL.Query().Get("sid") != "" },
	})
}

// close ends the engine, once the port has stopped.
func (d *pageDoor) close(context.Context) error {
	d.engine.Close()
	return nil
}

var errNoToken = errors.New("a page without a token")

// authenticate is that of other clients, but a page without a token is refused unless it may log in
// as any user.
func (d *pageDoor) authenticate(h *accept.Handshake) (id Identity, err error) {
	if h.Token != "" {
		id, err = d.entrance.authenticate(h)
	}
	if err == nil && id.ID == "" && !d.cfg.AnyLogin {
		err = errNoToken
	}
	return id, err
}

// open passes a WebSocket to the engine.
func (d *pageDoor) open(h *accept.Handshake) error {
	socket := socketio.Handshake{Socket: h.Conn, Request: h.Request, Early: h.Early}
	opened := h.Resumed
	if !h.Resumed {
		socket.Open = func(version int, ended func()) (socketio.Conn, error) {
			c, err := d.connect(h, version, ended)
			opened = err == nil
			return c, err
		}
	}
	d.engine.WebSocket(socket)
	if !opened {
		d.port.Release(h.Remote)
	}
	return nil
}

// Allowed implements socketio.Backend.
func (d *pageDoor) Allowed(r *http.Request) bool { return accept.Allowed(r) }

// Open implements socketio.Backend.
func (d *pageDoor) Open(w http.ResponseWriter, r *http.Request, version int, ended func()) (socketio.Conn, bool) {
	h, ok := accept.Admit(w, r)
	if !ok {
		return nil, false
	}
	c, err := d.connect(h, version, ended)
	if err != nil {
		d.port.Release(h.Remote)
		w.Header().Set("Retry-After", "5")
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		return nil, false
	}
	return c, true
}

// connect makes the connection of an admitted page.
func (d *pageDoor) connect(h *accept.Handshake, version int, ended func()) (socketio.Conn, error) {
	fd, err := d.next()
	if err != nil {
		return nil, err
	}
	order := d.order(h.Identity.ID)
	order.Lock()
	defer order.Unlock()
	return d.pages.Open(d.hub, fd, h.Identity, h.Remote, version, d.opened, ended), nil
}
