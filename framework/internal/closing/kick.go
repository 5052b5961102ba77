package closing

import (
	"context"
	"slices"

	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
)

// none is the value of a question or an answer that needs no further fields.
type none = struct{}

// The questions. The names of operations and fields travel between nodes.
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

// Kick closes a connection, on whatever node, after everything that its caller had sent before. It
// does not wait for the close. ask.ErrNoConnection where no node has the connection, or it is being
// closed already; ask.ErrPartial where not all nodes have answered.
func (cl *Closer) Kick(ctx context.Context, fd int64, code int, reason string) error {
	_, err := ask.One(ctx, cl.cfg.Nodes, opKick, fd, closeQuestion{Code: code, Reason: reason})
	return err
}

// KickUID is Kick of all connections of a user, and returns their number.
func (cl *Closer) KickUID(ctx context.Context, uid string, code int, reason string) (int, error) {
	return ask.Sum(ctx, cl.cfg.Nodes, opKickUID, uid, closeQuestion{uid, code, reason})
}

// Dismiss takes all members out of a room, on all nodes, after everything that its caller had sent
// before, and returns their number.
func (cl *Closer) Dismiss(ctx context.Context, room string) (int, error) {
	return ask.Sum(ctx, cl.cfg.Nodes, opDismiss, room, roomQuestion{room})
}

// register has this node answer the questions.
func (cl *Closer) register() {
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
			cl.cfg.Hub.After(q.Room, func() {
				// In a goroutine, since a leave waits for a move, which may wait for this caller.
				go cl.cfg.Protect("dismiss "+q.Room, func() { t.Answer(func() ask.Answer[none] { return ask.Answer[none]{Count: cl.dismiss(q.Room)} }) })
			})
		})
	})
}

// kick closes connections after everything that is on its way to them. The answer does not wait for
// that: the connections are known at once, and are marked as closing soon.
func (cl *Closer) kick(q closeQuestion, t ask.Turn[none], find func() []*hub.Conn) {
	t.Answer(func() ask.Answer[none] {
		conns := slices.DeleteFunc(find(), func(c *hub.Conn) bool { return !c.SetClosingSoon() })
		t.After(cl.cfg.Nodes.Timeout(), func() { hub.CloseAfter(conns, q.Code, q.Reason) })
		return ask.Answer[none]{Found: q.UID == "" && len(conns) > 0, Count: len(conns)}
	})
}

// dismiss takes the members on this node out of a room, and counts them.
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
