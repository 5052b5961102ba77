package pages

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync/atomic"
	"unicode/utf8"

	"go.uber.org/zap"

	"wsframe/framework/auth"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
	"wsframe/framework/socketio"
)

// Config of Pages.
type Config struct {
	AnyLogin  bool // a page may log in as any user; otherwise only as its token's
	JSONDepth int  // most levels of an event's JSON

	// Online returns the param of the last update_online_count, by which a login is answered; nil =
	// none is known. It is asked where none has come for a second. A nil function: logins are not
	// answered.
	Online func() json.RawMessage

	// Bind makes a connection reachable by a uid. It may wait for a move of the connection.
	Bind func(c *hub.Conn, uid string) error
	Log  *zap.Logger
}

// Pages makes connections of socket.io pages.
type Pages struct {
	cfg    Config
	online atomic.Pointer[count] // of the last update_online_count; nil = none came
}

// New makes a Pages.
func New(cfg Config) *Pages { return &Pages{cfg: cfg} }

// Open registers a connection of a page, which has no socket yet. opened is called once it is
// known, and ended once at its end.
func (ps *Pages) Open(h *hub.Hub, fd int64, id auth.Identity, remote string, version int, opened func(*hub.Conn), ended func()) socketio.Conn {
	c := hub.OpenPage(h, fd, id, remote, wire.Dialect(version))
	p := &page{pages: ps, conn: c, hub: h, ended: ended}
	s := session.New(nil)
	s.SetForeign(p)
	c.Data = s
	c.Serve(func() {
		if greeting := socketio.Greeting(version); greeting != nil {
			_ = c.Reply(greeting) // gone: its close path is running
			c.Page.Set(hub.PageConnected)
		}
		opened(c.Conn)
	})
	return p
}

// Imported takes over a connection that comes from the previous process, if it is a page's.
func (ps *Pages) Imported(h *hub.Hub, c *hub.Conn) {
	if c.Page != nil {
		session.Of(c).SetForeign(&page{pages: ps, conn: hub.Polled{Conn: c}, hub: h, ended: func() {}})
	}
}

// page is the connection of one page.
type page struct {
	pages *Pages
	conn  hub.Polled
	hub   *hub.Hub
	ended func()
}

var (
	_ socketio.Conn   = (*page)(nil)
	_ session.Foreign = (*page)(nil)
)

// MessageInline implements session.Foreign: it handles heartbeats.
func (p *page) MessageInline(packet []byte) bool {
	if p.conn.Binary() || len(packet) == 0 || packet[0] != socketio.Ping && packet[0] != socketio.Pong {
		return false
	}
	p.Message(packet)
	return true
}

// Message implements session.Foreign: it handles one packet of Engine.IO.
func (p *page) Message(packet []byte) {
	c := p.conn
	if c.Binary() {
		c.Close(wire.ClosePolicy, "binary messages are not supported")
		return
	}
	d := socketio.Dialogue{Version: int(c.Page.Version()), Connected: c.Page.Has(hub.PageConnected), LoggedIn: c.Page.Has(hub.PageLoggedIn)}
	step := d.Packet(packet, p.pages.cfg.JSONDepth)
	switch {
	case step.Code != 0:
		c.Close(step.Code, step.Reason)
		return
	case len(step.Answer) == 0:
	case step.Answer[0] == socketio.Message:
		_ = c.Reply(step.Answer) // gone or slow: its close path is running
	default:
		c.Control(step.Answer)
	}
	if d.Connected {
		c.Page.Set(hub.PageConnected) // after the answer, behind which events may come
	}
	if step.Login {
		p.login(step.UID)
	}
}

// login binds the page to a user. A login that cannot be is ignored, as are later ones.
func (p *page) login(user string) {
	allowed := p.pages.cfg.AnyLogin || user == p.conn.Auth.ID
	if !allowed || user == "" || utf8.RuneCountInString(user) > names.MaxUID || !p.conn.Page.Set(hub.PageLoggedIn) {
		return
	}
	if err := p.pages.cfg.Bind(p.conn.Conn, names.EscapeUID(user)); err != nil {
		if !errors.Is(err, hub.ErrClosed) {
			p.pages.cfg.Log.Warn("socket.io: a login failed", zap.Int64("fd", p.conn.FD), zap.Error(err))
		}
		return
	}
	if p.pages.cfg.Online == nil {
		return
	}
	html := p.pages.count()
	if html == "" { // the first is to come
		html = footer(p.hub.UserCount(), p.hub.Len())
	}
	_ = p.conn.Reply(socketio.AppendEvent(nil, p.conn.Page.Version() < 4, eventOnline, text(html)))
}

// Closed implements session.Foreign.
func (p *page) Closed() { p.ended() }

// known translates the errors of the hub.
func known(err error) error {
	switch {
	case errors.Is(err, hub.ErrClosed):
		return socketio.ErrEnded
	case errors.Is(err, hub.ErrAttached):
		return socketio.ErrAttached
	case errors.Is(err, hub.ErrBusy):
		return socketio.ErrBusy
	}
	return err
}

// Take implements socketio.Conn.
func (p *page) Take(ctx context.Context, bytes int) ([][]byte, error) {
	packets, err := p.conn.Take(ctx, bytes)
	return packets, known(err)
}

// Receive implements socketio.Conn.
func (p *page) Receive(packets [][]byte) error { return known(p.conn.Receive(packets)) }

// Attach implements socketio.Conn.
func (p *page) Attach(socket net.Conn, early []byte) error {
	stream, ok := socket.(hub.Stream)
	if !ok {
		return errors.New("only sockets of the operating system can be served")
	}
	return known(p.conn.Attach(stream, early))
}

// Touch implements socketio.Conn.
func (p *page) Touch() { p.conn.Touch() }

// Close implements socketio.Conn.
func (p *page) Close(code int, reason string) { p.conn.Close(code, reason) }
