// Package clients presents this node's connections to PHP back ends as the clients of a
// GatewayWorker gateway: connection_ids of 32 bits, one uid for each client, groups of any name, a
// session of bytes.
//
// A connection_id is the low 32 bits of a connection's number. Groups are rooms, and uids are the
// hub's, so PHP, controllers and the push port mean the same ones. Everything here concerns
// connections of this node only, since PHP asks each gateway itself.
//
// The root package makes one Clients. Package gateway executes PHP's commands on it, as its
// Backend, and gets the events of connections that came to the gateway's own port (Foreign).
//
// What one PHP connection sends to one client arrives in its order. Rooms are written in ticks, so
// each peer remembers the room in which something of its own may be pending, and has it written
// before anything else of the peer reaches a member.
package clients

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"

	"wsframe/framework/gateway"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
)

// Sessions changes the connections of this node (package session).
type Sessions interface {
	JoinAny(ctx context.Context, c *hub.Conn, room string, j session.Joining) error
	Leave(c *hub.Conn, room string) bool
	Bind(c *hub.Conn, uid string) error
	Unbind(c *hub.Conn, uid string)
	OwnUID(c *hub.Conn) string
	SetNote(c *hub.Conn, change func(before string) string)
}

// Config of Clients.
type Config struct {
	Hub      *hub.Hub
	Sessions Sessions
	Gateway  netip.AddrPort      // the announced address
	Events   gateway.Clients     // of connections of the gateway's own port; nil = dropped
	Refused  func(reason string) // called for each join or bind beyond a limit
}

// Clients are the connections of this node. All methods are safe for concurrent use.
type Clients struct {
	cfg    Config
	newest atomic.Int64 // the greatest number of a connection so far
	moving gate         // closed while connections are being moved
}

var _ gateway.Backend = (*peer)(nil)

// New makes a Clients.
func New(cfg Config) *Clients { return &Clients{cfg: cfg} }

// Backend returns the connections as package gateway needs them.
func (cs *Clients) Backend() gateway.Backend { return lists{cs}.ForPeer() }

// ForPeer implements gateway.Backend.
func (l lists) ForPeer() gateway.Backend { return &peer{lists: l} }

// idSpace is the number of connection_ids.
const idSpace = 1 << 32

// ID returns the connection_id of a connection.
func ID(fd int64) uint32 { return uint32(fd) }

// Usable reports whether a new connection may have that number: its connection_id is neither 0 nor
// that of a living one.
func (cs *Clients) Usable(fd int64) bool {
	return ID(fd) != 0 && cs.cfg.Hub.Get(fd-idSpace) == nil
}

// Came notes the number of a new or moved connection, before it is served.
func (cs *Clients) Came(fd int64) {
	for {
		newest := cs.newest.Load()
		if fd <= newest || cs.newest.CompareAndSwap(newest, fd) {
			return
		}
	}
}

// conn returns the connection of a client, or nil. A client that is being closed is gone.
func (cs *Clients) conn(id uint32) *hub.Conn {
	newest := cs.newest.Load()
	fd := newest&^(idSpace-1) | int64(id)
	if fd > newest {
		fd -= idSpace
	}
	c := cs.cfg.Hub.Get(fd)
	if c == nil { // one that has lived longer than 2^32 others
		c = cs.cfg.Hub.Get(fd - idSpace)
	}
	if c == nil || id == 0 || c.ClosingSoon() {
		return nil
	}
	return c
}

// ids returns the connection_ids of those connections that are not being closed, sorted.
func ids(conns []*hub.Conn) []uint32 {
	list := make([]uint32, 0, len(conns))
	for _, c := range conns {
		if !c.ClosingSoon() {
			list = append(list, ID(c.FD))
		}
	}
	slices.Sort(list)
	return list
}

// count counts those connections that are not being closed.
func count(conns []*hub.Conn) (n int) {
	for _, c := range conns {
		if !c.ClosingSoon() {
			n++
		}
	}
	return n
}

// uidOf returns the uid of a client: the one that PHP has bound, else the token's.
func (cs *Clients) uidOf(c *hub.Conn) string {
	bound := c.Users()
	for _, uid := range []string{session.Of(c).PHP().UID, cs.cfg.Sessions.OwnUID(c)} {
		if uid != "" && slices.Contains(bound, uid) {
			return names.Unescape(uid)
		}
	}
	return ""
}

// text encodes a text message for Send.
func text(payload string) wire.Frame { return wire.TextFrame([]byte(payload)) }
