package clients

import (
	"context"

	"wsframe/framework/gateway"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
)

// peer executes the commands of one PHP connection, in their order.
type peer struct {
	lists
	pending fanOut // where something of this peer may wait for a tick
}

// fanOut names what is written in ticks: a room, or everyone.
type fanOut struct {
	room     string
	everyone bool
}

// reaches reports whether something that is pending may go to the connection.
func (f fanOut) reaches(c *hub.Conn) bool { return f.everyone || f.room != "" && c.InRoom(f.room) }

// Settle implements gateway.Backend.
func (p *peer) Settle() { p.flush() }

// flush writes what is pending.
func (p *peer) flush() {
	switch {
	case p.pending.everyone:
		p.of.cfg.Hub.FlushEveryone()
	case p.pending.room != "":
		p.of.cfg.Hub.Flush(p.pending.room)
	}
	p.pending = fanOut{}
}

// flushFor writes what is pending if the connection gets any of it.
func (p *peer) flushFor(c *hub.Conn) {
	if p.pending.reaches(c) {
		p.flush()
	}
}

// flushRoom writes what is pending in a room whose members change.
func (p *peer) flushRoom(room string) {
	if p.pending.room == room {
		p.flush()
	}
}

// publishes writes what is pending elsewhere, before something is published there.
func (p *peer) publishes(to fanOut) {
	if p.pending != to {
		p.flush()
	}
	p.pending = to
}

// ordered returns the connection of a client after everything that the peer has sent to it.
func (p *peer) ordered(id uint32) *hub.Conn {
	c := p.of.conn(id)
	if c != nil {
		p.flushFor(c)
	}
	return c
}

// maxExcept bounds the exclusions that a frame carries, since each member is compared with each.
const maxExcept = 16

// SendTo implements gateway.Backend.
func (p *peer) SendTo(ids []uint32, m gateway.Message) {
	f := m.Frame()
	for _, id := range ids {
		if c := p.ordered(id); c != nil {
			send(c, f)
		}
	}
}

// send sends a frame. The close path of a slow or closed connection deals with the error.
func send(c *hub.Conn, f wire.Frame) { _ = c.Send(f) }

// without sends a frame to connections, but not to the excluded ones.
func (p *peer) without(conns []*hub.Conn, exclude []uint32, f wire.Frame) {
	skip := make(map[uint32]bool, len(exclude))
	for _, id := range exclude {
		skip[id] = true
	}
	p.flush()
	for _, c := range conns {
		if !skip[ID(c.FD)] {
			send(c, f)
		}
	}
}

// except returns the frame with its exclusions.
func (p *peer) except(f wire.Frame, exclude []uint32) wire.Frame {
	var fds []int64
	for _, id := range exclude {
		if c := p.of.conn(id); c != nil {
			fds = append(fds, c.FD)
		}
	}
	if fds == nil {
		return f
	}
	return f.With(wire.Handling{Except: fds})
}

// SendToAll implements gateway.Backend.
func (p *peer) SendToAll(exclude []uint32, m gateway.Message) {
	if len(exclude) > maxExcept {
		p.without(p.of.all(), exclude, m.Frame())
		return
	}
	p.publishes(fanOut{everyone: true})
	p.of.cfg.Hub.Broadcast(p.except(m.Frame(), exclude))
}

// SendToUID implements gateway.Backend.
func (p *peer) SendToUID(uid string, m gateway.Message) {
	f := m.Frame()
	for _, c := range p.of.cfg.Hub.User(names.EscapeUID(uid)) {
		if !c.ClosingSoon() {
			p.flushFor(c)
			send(c, f)
		}
	}
}

// SendToGroup implements gateway.Backend.
func (p *peer) SendToGroup(group string, exclude []uint32, m gateway.Message) {
	room := names.EscapeRoom(group)
	if len(exclude) > maxExcept {
		p.without(p.of.cfg.Hub.RoomMembers(room), exclude, m.Frame())
		return
	}
	p.publishes(fanOut{room: room})
	p.of.cfg.Hub.Publish(room, p.except(m.Frame(), exclude))
}

// Kick implements gateway.Backend. Everything that was published before, by whomever, precedes the
// close frame.
func (p *peer) Kick(id uint32, last *gateway.Message) {
	c := p.ordered(id)
	if c == nil {
		return
	}
	for _, room := range c.Rooms() {
		p.of.cfg.Hub.Flush(room)
	}
	p.of.cfg.Hub.FlushEveryone()
	if last != nil {
		send(c, last.Frame())
	}
	c.Close(wire.CloseNormal, "")
}

// Destroy implements gateway.Backend.
func (p *peer) Destroy(id uint32) {
	if c := p.of.conn(id); c != nil {
		hub.Drop(c, wire.CloseNormal, "")
	}
}

// Bind implements gateway.Backend. The token's own uid stays bound.
func (p *peer) Bind(id uint32, text string) {
	c, uid := p.of.conn(id), names.EscapeUID(text)
	if c == nil {
		return
	}
	if old := p.bound(c, uid); old != uid {
		p.unbind(c, old)
	}
	if err := p.of.cfg.Sessions.Bind(c, uid); err != nil {
		p.of.cfg.Refused("uid")
	}
}

// Unbind implements gateway.Backend.
func (p *peer) Unbind(id uint32) {
	if c := p.of.conn(id); c != nil {
		p.unbind(c, p.bound(c, ""))
	}
}

// bound replaces the uid that PHP has bound, and returns the one before.
func (p *peer) bound(c *hub.Conn, uid string) (before string) {
	session.Of(c).ChangePHP(func(php *session.PHP) { before, php.UID = php.UID, uid })
	return before
}

// unbind removes a uid that PHP has bound.
func (p *peer) unbind(c *hub.Conn, uid string) {
	if uid != "" && uid != p.of.cfg.Sessions.OwnUID(c) {
		p.of.cfg.Sessions.Unbind(c, uid)
	}
}

// Join implements gateway.Backend. The new member gets nothing that was published before.
func (p *peer) Join(id uint32, group string) {
	c, room := p.of.conn(id), names.EscapeRoom(group)
	if c == nil {
		return
	}
	p.flushRoom(room)
	if err := p.of.cfg.Sessions.JoinAny(context.Background(), c, room, session.Joining{}); err != nil {
		p.of.cfg.Refused("group")
		return
	}
	session.Of(c).ChangePHP(func(php *session.PHP) { php.Grouped = true })
}

// Leave implements gateway.Backend.
func (p *peer) Leave(id uint32, group string) {
	room := names.EscapeRoom(group)
	if c := p.of.conn(id); c != nil {
		p.flushRoom(room)
		p.of.cfg.Sessions.Leave(c, room)
	}
}

// Ungroup implements gateway.Backend.
func (p *peer) Ungroup(group string) {
	room := names.EscapeRoom(group)
	p.flushRoom(room)
	for _, c := range p.of.cfg.Hub.RoomMembers(room) {
		p.of.cfg.Sessions.Leave(c, room)
	}
}

// SetSession implements gateway.Backend.
func (p *peer) SetSession(id uint32, change func(old []byte) ([]byte, bool)) {
	c := p.of.conn(id)
	if c == nil {
		return
	}
	var changed []byte
	var ok bool
	session.Of(c).ChangePHP(func(php *session.PHP) {
		if changed, ok = change(php.Bytes); ok {
			php.Bytes = changed
		}
	})
	if ok {
		p.of.noteSession(c, changed)
	}
}
