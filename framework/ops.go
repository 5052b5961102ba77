package framework

import (
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

// none is what a question or an answer says where its other fields are enough.
type none = struct{}

// What is asked of the node that has a connection. The names and fields travel between nodes.
type (
	roomQuestion struct {
		Room string `json:"r,omitempty"`
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
	opKick    = ask.Op[closeQuestion, none]{Name: "kick", Kind: ask.Follows}
	opKickUID = ask.Op[closeQuestion, none]{Name: "kickUID", Kind: ask.Follows}
	opDismiss = ask.Op[roomQuestion, none]{Name: "dismiss", Kind: ask.Follows, Both: true}
	opReach   = ask.Op[reachQuestion, none]{Name: "reach", Kind: ask.Follows}
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

// answerOthers has this node answer what others ask.
func (a *App) answerOthers() {
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
		conns := slices.DeleteFunc(find(), func(c *hub.Conn) bool { return !c.SetClosingSoon() })
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
		if closing := c.ClosingSoon(); a.sessions.Leave(c, room) && !closing {
			n++
		}
	}
	return n
}

// Connection is a live connection, on whichever node.
type Connection = api.Connection

// NodeInfo is one node of the cluster, as it answers.
type NodeInfo = api.NodeInfo
