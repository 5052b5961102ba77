package framework

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"wsframe/framework/api"
	"wsframe/framework/bus"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/room"
	"wsframe/framework/internal/wire"
)

var (
	// ErrNoConnection is returned where no node has the connection.
	ErrNoConnection = ask.ErrNoConnection
	// ErrPartial is returned beside what is known when not all nodes have answered in time, or Redis has not, by which they are asked.
	ErrPartial = ask.ErrPartial
	// ErrBusy is returned when too much waits for Redis.
	ErrBusy = bus.ErrFull
)

// position is a place in a room's history. Offsets of one epoch increase by one.
type position = room.Position

// catchingUp is a connection's wait for what it missed of a room.
type catchingUp = room.CatchUp

// none is what a question or an answer says where its other fields are enough.
type none = struct{}

// What is asked of the node that has a connection. The names and fields travel between nodes.
type (
	joinQuestion struct {
		Room     string `json:"r,omitempty"`
		Announce bool   `json:"b,omitempty"`
		Kept     bool   `json:"k,omitempty"`
	}
	roomQuestion struct {
		Room string `json:"r,omitempty"`
	}
	uidQuestion struct {
		UID string `json:"u,omitempty"`
	}
	valuesQuestion struct {
		Merge  bool                       `json:"b,omitempty"`
		Values map[string]json.RawMessage `json:"v,omitempty"`
	}
	nameQuestion struct {
		Name string `json:"t,omitempty"`
	}
	closeQuestion struct {
		UID    string `json:"u,omitempty"`
		Code   int    `json:"c,omitempty"`
		Reason string `json:"t,omitempty"`
	}
	reachQuestion struct {
		UID      string    `json:"u,omitempty"`
		Payload  string    `json:"t,omitempty"`
		Delivery *delivery `json:"d,omitempty"`
	}
)

var (
	opJoin           = ask.Op[joinQuestion, none]{Name: "join", Kind: ask.Changes}
	opLeave          = ask.Op[roomQuestion, none]{Name: "leave", Kind: ask.Changes}
	opLeaveAll       = ask.Op[none, none]{Name: "leaveAll", Kind: ask.Changes}
	opBind           = ask.Op[uidQuestion, none]{Name: "bind", Kind: ask.Changes}
	opUnbind         = ask.Op[uidQuestion, none]{Name: "unbind", Kind: ask.Changes}
	opSession        = ask.Op[none, map[string]json.RawMessage]{Name: "session"}
	opSetSession     = ask.Op[valuesQuestion, none]{Name: "setSession", Kind: ask.Changes}
	opAddKey         = ask.Op[nameQuestion, none]{Name: "addKey"}
	opRemoveKey      = ask.Op[nameQuestion, none]{Name: "removeKey"}
	opAddListener    = ask.Op[nameQuestion, none]{Name: "addListener"}
	opRemoveListener = ask.Op[nameQuestion, none]{Name: "removeListener"}
	opKick           = ask.Op[closeQuestion, none]{Name: "kick", Kind: ask.Follows}
	opKickUID        = ask.Op[closeQuestion, none]{Name: "kickUID", Kind: ask.Follows}
	opDismiss        = ask.Op[roomQuestion, none]{Name: "dismiss", Kind: ask.Follows, Both: true}
	opReach          = ask.Op[reachQuestion, none]{Name: "reach", Kind: ask.Follows}
)

// errorCodes are the errors that askers tell apart. The codes travel between nodes.
var errorCodes = map[string]error{
	"name": ErrName, "reserved": ErrReserved, "uid": ErrUID, "tooManyKeys": ErrTooManyKeys, "sessionSize": ErrSessionSize,
	"tooManyRooms": room.ErrTooManyRooms, "tooManyUsers": hub.ErrTooManyUsers, "closed": hub.ErrClosed, "slow": hub.ErrSlow, "partial": ErrPartial,
}

func (a *App) newNodes() *ask.Nodes {
	return ask.New(ask.Config{
		Node: a.nodeID, Alone: a.alone, Timeout: a.askTime, Link: a.link, Members: func() ask.Members { return a.node },
		Here: a.stays, Frozen: func() bool { return a.hub.Frozen() },
		HandedOver: func() bool { return a.link.Phase() == link.HandedOver }, Ended: func() bool { return a.link.Phase().Ended() },
		Errors: errorCodes, Protect: a.protect, Log: a.log,
	})
}

// stays tells whether a connection is here and has not moved.
func (a *App) stays(fd int64) bool {
	c := a.hub.Get(fd)
	if c == nil {
		return false
	}
	_, moved := c.Moving()
	return !moved
}

// onConn has f answer for a connection of this node.
func onConn[Q, A any](a *App, op ask.Op[Q, A], f func(c *hub.Conn, q Q) (A, error)) {
	ask.Handle(a.nodes, op, func(fd int64, q Q) ask.Answer[A] {
		c := a.hub.Get(fd)
		if c == nil || c.Doomed() {
			return ask.Answer[A]{}
		}
		v, err := f(c, q)
		return ask.Answer[A]{Found: true, Value: v, Err: err}
	})
}

// answerOthers has this node answer what others ask.
func (a *App) answerOthers() {
	onConn(a, opJoin, func(c *hub.Conn, q joinQuestion) (none, error) {
		return none{}, a.joinElsewhere(c, q.Room, joining{q.Announce, q.Kept})
	})
	ask.HandleSlow(a.nodes, opJoin, func(fd int64, q joinQuestion) bool {
		c := a.hub.Get(fd)
		return c != nil && sessionOf(c).awaits(q.Room) // what it missed of the room is read from Redis first
	}, func(fd int64, q joinQuestion) ask.Answer[none] {
		c := a.hub.Get(fd)
		if c == nil {
			return ask.Answer[none]{}
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		return ask.Answer[none]{Found: true, Err: a.join(ctx, c, q.Room, joining{q.Announce, q.Kept})}
	})
	onConn(a, opLeave, func(c *hub.Conn, q roomQuestion) (none, error) { a.leave(c, q.Room); return none{}, nil })
	onConn(a, opLeaveAll, func(c *hub.Conn, _ none) (none, error) {
		for _, room := range c.Rooms() {
			a.leave(c, room)
		}
		return none{}, nil
	})
	onConn(a, opBind, func(c *hub.Conn, q uidQuestion) (none, error) { return none{}, a.bind(c, q.UID) })
	onConn(a, opUnbind, func(c *hub.Conn, q uidQuestion) (none, error) { a.unbind(c, q.UID); return none{}, nil })
	onConn(a, opSession, func(c *hub.Conn, _ none) (map[string]json.RawMessage, error) { return sessionOf(c).snapshot(), nil })
	onConn(a, opSetSession, func(c *hub.Conn, q valuesQuestion) (none, error) {
		return none{}, a.changeSession(c, q.Values, q.Merge)
	})
	onConn(a, opAddKey, func(c *hub.Conn, q nameQuestion) (none, error) { return none{}, a.addCloseKey(c, q.Name) })
	onConn(a, opRemoveKey, func(c *hub.Conn, q nameQuestion) (none, error) { a.removeCloseKey(c, q.Name); return none{}, nil })
	onConn(a, opAddListener, func(c *hub.Conn, q nameQuestion) (none, error) { return none{}, a.addListener(c, q.Name) })
	onConn(a, opRemoveListener, func(c *hub.Conn, q nameQuestion) (none, error) { a.removeListener(c, q.Name); return none{}, nil })

	ask.Handle(a.nodes, opPresent, func(_ int64, q presentQuestion) ask.Answer[[]bool] {
		return ask.Answer[[]bool]{Value: a.present(q.Present)}
	})

	ask.HandleAfter(a.nodes, opKick, func(fd int64, q closeQuestion, t ask.Turn[none]) {
		a.kick(q, t, func() (conns []*hub.Conn) {
			if c := a.hub.Get(fd); c != nil {
				conns = append(conns, c)
			}
			return conns
		})
	})
	ask.HandleAfter(a.nodes, opKickUID, func(_ int64, q closeQuestion, t ask.Turn[none]) {
		a.kick(q, t, func() []*hub.Conn { return a.hub.User(q.UID) })
	})
	ask.HandleAfter(a.nodes, opDismiss, func(_ int64, q roomQuestion, t ask.Turn[none]) {
		t.After(a.nodes.CountTime(), func() {
			a.hub.After(q.Room, func() { // a move may wait for whoever calls this, and a leave for the move
				go a.protect("dismiss "+q.Room, func() { t.Answer(func() ask.Answer[none] { return ask.Answer[none]{Count: a.dismiss(q.Room)} }) })
			})
		})
	})
	ask.HandleAfter(a.nodes, opReach, func(_ int64, q reachQuestion, t ask.Turn[none]) {
		t.After(a.nodes.CountTime(), func() {
			t.Answer(func() ask.Answer[none] {
				f := wire.TextFrame([]byte(q.Payload))
				if d := q.Delivery; d != nil {
					f = d.Frame(append(make([]byte, wire.Headroom), q.Payload...))
				}
				return ask.Answer[none]{Count: a.deliverHere(envelope.ToUID, q.UID, f)}
			})
		})
	})
}

// kick closes connections after what is on its way to them. Who it is shows at once: who asks need not wait for the close.
func (a *App) kick(q closeQuestion, t ask.Turn[none], find func() []*hub.Conn) {
	t.Answer(func() ask.Answer[none] {
		conns := slices.DeleteFunc(find(), func(c *hub.Conn) bool { return !c.Doom() })
		t.After(a.askTime, func() { hub.CloseAfter(conns, q.Code, q.Reason) })
		return ask.Answer[none]{Found: q.UID == "" && len(conns) > 0, Count: len(conns)}
	})
}

// dismiss empties a room, as far as its members are here, and counts them.
func (a *App) dismiss(room string) (n int) {
	for _, c := range a.hub.RoomMembers(room) {
		if a.link.Phase() == link.HandedOver {
			break
		}
		if doomed := c.Doomed(); a.leave(c, room) && !doomed {
			n++
		}
	}
	return n
}

// forward has a change made in the process to which the connection has moved. The caller makes it here, too, without having it noted:
// for the action that still runs here and looks at what it has done.
func forward[Q, A any](ctx context.Context, a *App, op ask.Op[Q, A], c *hub.Conn, q Q) error {
	err := ask.Forward(ctx, a.nodes, op, c.FD, q)
	if errors.Is(err, ask.ErrGone) {
		return hub.ErrClosed
	}
	return err
}

// Connection is a live connection, on whichever node.
type Connection = api.Connection

// NodeInfo is one node of the cluster, as it answers.
type NodeInfo = api.NodeInfo
