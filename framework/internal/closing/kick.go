package closing

import (
	"context"
	"slices"

	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
)

// none is what a question or an answer says where its other fields are enough.
type none = struct{}

// What is asked. The names and fields travel between nodes.
type (
	roomQuestion struct {
		Room string `json:"r,omitempty"`
	}
	closeQuestion struct {
		UID    string `json:"u,omitempty"`
		Code   int    `json:"c,omitempty"`
		Reason string `json:"t,omitempty"`
	}
)

var (
	opKick    = ask.Op[closeQuestion, none]{Name: "kick", Kind: ask.Follows}
	opKickUID = ask.Op[closeQuestion, none]{Name: "kickUID", Kind: ask.Follows}
	opDismiss = ask.Op[roomQuestion, none]{Name: "dismiss", Kind: ask.Follows, Both: true}
)

// Kick closes a connection, on whatever node, after what its caller had sent before. It does not wait for the close.
func (cl *Closer) Kick(ctx context.Context, fd int64, code int, reason string) error {
	_, err := ask.One(ctx, cl.cfg.Nodes, opKick, fd, closeQuestion{Code: code, Reason: reason})
	return err
}

// KickUID is Kick of all connections of a user. It counts them.
func (cl *Closer) KickUID(ctx context.Context, uid string, code int, reason string) (int, error) {
	return ask.Sum(ctx, cl.cfg.Nodes, opKickUID, uid, closeQuestion{uid, code, reason})
}

// Dismiss takes all members out of a room, on all nodes, after what its caller had sent before. It counts them.
func (cl *Closer) Dismiss(ctx context.Context, room string) (int, error) {
	return ask.Sum(ctx, cl.cfg.Nodes, opDismiss, room, roomQuestion{room})
}

// answer has this node answer what others ask.
func (cl *Closer) answer() {
	ask.HandleAfter(cl.cfg.Nodes, opKick, func(fd int64, q closeQuestion, t ask.Turn[none]) {
		cl.kick(q, t, func() (conns []*hub.Conn) {
			if c := cl.cfg.Hub.Get(fd); c != nil {
				conns = append(conns, c)
			}
			return conns
		})
	})
	ask.HandleAfter(cl.cfg.Nodes, opKickUID, func(_ int64, q closeQuestion, t ask.Turn[none]) {
		cl.kick(q, t, func() []*hub.Conn { return cl.cfg.Hub.User(q.UID) })
	})
	ask.HandleAfter(cl.cfg.Nodes, opDismiss, func(_ int64, q roomQuestion, t ask.Turn[none]) {
		t.After(cl.cfg.Nodes.CountTime(), func() {
			cl.cfg.Hub.After(q.Room, func() { // a move may wait for whoever calls this, and a leave for the move
				go cl.cfg.Protect("dismiss "+q.Room, func() { t.Answer(func() ask.Answer[none] { return ask.Answer[none]{Count: cl.dismiss(q.Room)} }) })
			})
		})
	})
}

// kick closes connections after what is on its way to them. Who it is shows at once: who asks need not wait for the close.
func (cl *Closer) kick(q closeQuestion, t ask.Turn[none], find func() []*hub.Conn) {
	t.Answer(func() ask.Answer[none] {
		conns := slices.DeleteFunc(find(), func(c *hub.Conn) bool { return !c.SetClosingSoon() })
		t.After(cl.cfg.Nodes.Timeout(), func() { hub.CloseAfter(conns, q.Code, q.Reason) })
		return ask.Answer[none]{Found: q.UID == "" && len(conns) > 0, Count: len(conns)}
	})
}

// dismiss empties a room, as far as its members are here, and counts them.
func (cl *Closer) dismiss(room string) (n int) {
	for _, c := range cl.cfg.Hub.RoomMembers(room) {
		if cl.cfg.Link.Phase() == link.HandedOver {
			break
		}
		if closing := c.ClosingSoon(); cl.cfg.Sessions.Leave(c, room) && !closing {
			n++
		}
	}
	return n
}
