package framework

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

// questioned answers another node.
func (a *App) questioned(m *bus.Message) {
	var q query
	if err := json.Unmarshal(m.Body, &q); err != nil {
		a.log.Warn("question from another node", zap.Error(err))
		return
	}
	if q.Node == a.nodeID {
		return // answered before it was asked
	}
	a.node.Heard(q.Node)
	a.peers.note(q.Node)
	answer := func(r reply) {
		r.ID, r.Node = q.ID, a.nodeID
		body, err := json.Marshal(r)
		if err == nil {
			err = a.link.Send(&bus.Message{Kind: envelope.Answer, Key: q.Node, Body: body})
		}
		if err != nil && !a.link.Phase().Ended() {
			a.log.Warn("answer to another node", zap.Error(err))
		}
	}
	if q.surveys() {
		a.surveys.do(func() { a.protect("a question from another node", func() { a.respond(&q, m.From, answer) }) })
		return
	}
	if a.hub.Frozen() && q.changes() { // it may wait for a move that waits for us
		go a.protect("a question from another node", func() { a.respond(&q, m.From, answer) })
		return
	}
	a.respond(&q, m.From, answer)
}

// maxSurveys bounds the questions that wait for their turn; who asked more hears that this node has not answered.
const maxSurveys = 256

// surveys are answers that take time for each connection, room or user here: one after the other, beside the goroutines that receive.
type surveys struct {
	mu      sync.Mutex // held while one is made
	waiting atomic.Int64
}

func (s *surveys) do(f func()) {
	if s.waiting.Add(1) > maxSurveys {
		s.waiting.Add(-1)
		return
	}
	go func() {
		defer s.waiting.Add(-1)
		s.mu.Lock()
		defer s.mu.Unlock()
		f()
	}()
}

// surveys tells whether the answer takes time for each connection, room or user here.
func (q *query) surveys() bool {
	switch q.Op {
	case "counts", "connections", "members", "uids", "rooms":
		return true
	}
	return false
}

// changes tells whether the question is one to change a connection.
func (q *query) changes() bool {
	switch q.Op {
	case "join", "leave", "leaveAll", "bind", "unbind", "setSession":
		return true
	}
	return false
}

// follows tells whether the question comes behind what its asker has sent before, to whomever.
func (q *query) follows() bool {
	switch q.Op {
	case "kick", "kickUID", "dismiss", "reach":
		return true
	}
	return false
}

// respond gives this node's answer to a question of that sender, at once where it is one that follows nothing. It waits for nobody.
func (a *App) respond(q *query, token string, answer func(reply)) {
	switch q.Op {
	case "kick", "kickUID": // who it is shows at once: who asks need not wait for the close
		a.serve(q, token, answer, func() reply {
			var conns []*hub.Conn
			if q.Op == "kickUID" {
				conns = a.hub.User(q.UID)
			} else if c := a.hub.Get(q.FD); c != nil {
				conns = append(conns, c)
			}
			conns = slices.DeleteFunc(conns, func(c *hub.Conn) bool { return !c.Doom() })
			a.link.After(token, q.Mark, a.askTime, func() { hub.CloseAfter(conns, q.Code, q.Text) })
			return reply{Found: q.FD != 0 && len(conns) > 0, N: len(conns)}
		})
	case "dismiss":
		a.link.After(token, q.Mark, a.countTime(), func() {
			a.hub.After(q.Room, func() { // a move may wait for whoever calls this, and a leave for the move
				go a.protect("dismiss "+q.Room, func() { a.serve(q, token, answer, func() reply { return a.dismiss(q.Room) }) })
			})
		})
	case "reach":
		a.link.After(token, q.Mark, a.countTime(), func() {
			a.serve(q, token, answer, func() reply {
				f := wire.TextFrame([]byte(q.Text))
				if d := q.Delivery; d != nil {
					f = f.With(wire.Handling{Class: d.Class, Key: d.Key, Except: d.Except})
				}
				return reply{N: a.deliverHere(envelope.ToUID, q.UID, f)}
			})
		})
	default:
		a.serve(q, token, answer, func() reply { return a.reply(q) })
	}
}

// countTime is for how long what is counted waits: who asks waits a little longer, and hears of it.
func (a *App) countTime() time.Duration { return a.askTime * 9 / 10 }

// serve has here answer or, where the connections are the next worker's by now, that one. Where that does not, who asked learns that
// not all have answered.
func (a *App) serve(q *query, token string, answer func(reply), here func() reply) {
	var r reply
	if a.successor() == nil || a.stays(q.FD) {
		r = here()
	}
	h := a.successor()
	if h == nil || r.Found || q.Op != "dismiss" && r.N > 0 {
		answer(r)
		return
	}
	go a.protect("a question to the next worker", func() {
		ctx, cancel := context.WithTimeout(context.Background(), a.askTime)
		defer cancel()
		f, err := h.ask(ctx, inquiry{Query: *q, Token: token, Here: true})
		if err == nil && len(f.Replies) > 0 {
			f.Replies[0].N += r.N
			answer(f.Replies[0])
		}
	})
}

// dismiss empties a room, as far as its members are here.
func (a *App) dismiss(room string) (r reply) {
	for _, c := range a.hub.RoomMembers(room) {
		if a.successor() != nil {
			break
		}
		if doomed := c.Doomed(); a.leave(c, room) && !doomed {
			r.N++
		}
	}
	return r
}

// reply is this node's answer to a question that follows nothing.
func (a *App) reply(q *query) (r reply) {
	fail := func(err error) {
		if err != nil {
			r.Error = err.Error()
		}
	}
	data := func(v any) {
		b, err := json.Marshal(v)
		r.Data = b
		fail(err)
	}
	var c *hub.Conn
	if q.FD != 0 {
		if c = a.hub.Get(q.FD); c == nil || c.Doomed() {
			return r
		}
		r.Found = true
	}
	switch q.Op {
	case "online", "hello":
	case "join":
		fail(a.joinElsewhere(c, q.Room, joining{q.Flag, q.Kept}))
	case "leave":
		a.leave(c, q.Room)
	case "leaveAll":
		for _, room := range c.Rooms() {
			a.leave(c, room)
		}
	case "bind":
		fail(a.bind(c, q.UID))
	case "unbind":
		a.unbind(c, q.UID)
	case "session":
		data(sessionOf(c).snapshot())
	case "setSession":
		fail(a.changeSession(c, q.Values, q.Flag))
	case "addKey":
		fail(a.addCloseKey(c, q.Text))
	case "removeKey":
		a.removeCloseKey(c, q.Text)
	case "addListener":
		fail(a.addListener(c, q.Text))
	case "removeListener":
		a.removeListener(c, q.Text)
	case "uidOnline":
		r.Found = slices.ContainsFunc(a.hub.User(q.UID), func(c *hub.Conn) bool { return !c.Doomed() })
	case "present":
		data(a.present(q.Present))
	case "roomCount":
		r.N = a.hub.Members(q.Room)
	case "counts":
		data(a.ownCounts())
	case "connections":
		after, _ := strconv.ParseInt(q.After, 10, 64)
		var list []*hub.Conn
		a.hub.Each(func(c *hub.Conn) bool { list = append(list, c); return true })
		data(a.page(list, after, q.Limit))
	case "members":
		after, _ := strconv.ParseInt(q.After, 10, 64)
		data(a.page(a.hub.RoomMembers(q.Room), after, q.Limit))
	case "uids":
		data(pageOf(a.hub.UserNames(), q.After, q.Limit))
	case "rooms":
		data(pageOf(a.hub.RoomNames(), q.After, q.Limit))
	case "node":
		data(a.info())
	default:
		r.Error = "unknown question"
	}
	return r
}

func (a *App) info() NodeInfo {
	return NodeInfo{
		ID: a.nodeID, PID: os.Getpid(), Connections: a.hub.Len(), Rooms: a.hub.RoomCount(), UIDs: a.hub.UserCount(), Since: a.since.Unix(),
	}
}

// page lists those with an fd beyond after, by fd.
func (a *App) page(conns []*hub.Conn, after int64, limit int) []Connection {
	list := make([]*hub.Conn, 0, len(conns))
	for _, c := range conns {
		if c.FD > after {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(x, y *hub.Conn) int { return cmp.Compare(x.FD, y.FD) })
	out := make([]Connection, min(limit, len(list)))
	for i := range out {
		c := list[i]
		out[i] = Connection{FD: c.FD, Auth: c.Auth, UIDs: c.Users(), Node: a.nodeID}
	}
	return out
}

func pageOf(names []string, after string, limit int) []string {
	slices.Sort(names)
	i, found := slices.BinarySearch(names, after)
	if found {
		i++
	}
	return names[i:min(i+limit, len(names))]
}

// Connection is a live connection, on whichever node.
type Connection = api.Connection

// NodeInfo is one node of the cluster, as it answers.
type NodeInfo = api.NodeInfo
