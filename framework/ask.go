package framework

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/cluster"
	"wsframe/framework/hub"
)

var (
	// ErrNoConnection is returned where no node has the connection.
	ErrNoConnection = errors.New("no such connection")
	// ErrPartial is returned beside what is known when not all nodes have answered in time, or Redis has not, by which they are asked.
	ErrPartial = errors.New("not all nodes have answered")
	// ErrBusy is returned when too much waits for Redis.
	ErrBusy = bus.ErrFull
)

// query is a question to every node; those whom it does not concern say so, so that nobody waits for them.
type query struct {
	ID       int64                      `json:"i"`
	Node     string                     `json:"n"`
	Op       string                     `json:"o"`
	FD       int64                      `json:"f,omitempty"`
	UID      string                     `json:"u,omitempty"`
	Room     string                     `json:"r,omitempty"`
	After    string                     `json:"a,omitempty"`
	Limit    int                        `json:"l,omitempty"`
	Code     int                        `json:"c,omitempty"`
	Text     string                     `json:"t,omitempty"`
	Flag     bool                       `json:"b,omitempty"`
	Values   map[string]json.RawMessage `json:"v,omitempty"`
	Delivery *delivery                  `json:"d,omitempty"`
	Mark     bus.Mark                   `json:"m,omitempty"` // of the node that asks: what it had sent before
	Present  []cluster.Present          `json:"p,omitempty"`
}

// reply is one node's answer.
type reply struct {
	ID    int64           `json:"i"`
	Node  string          `json:"n"`
	Found bool            `json:"f,omitempty"` // the connection is here
	N     int             `json:"c,omitempty"`
	Data  json.RawMessage `json:"d,omitempty"`
	Error string          `json:"e,omitempty"`
}

// asks are the questions that wait for answers.
type asks struct {
	last atomic.Int64
	mu   sync.Mutex
	open map[int64]chan reply
}

// ask puts a question to this node, then to all others, until enough says that an answer was enough. It waits at most for
// askTime in all. key has the question come behind what was sent to the same target; what must come behind all that was sent before
// says so by the mark. Once the connections are the next worker's, that one answers for this node, and asks the others.
func (a *App) ask(ctx context.Context, key string, q query, enough func(reply) bool) error {
	token := ""
	if b := a.bus.Load(); b != nil && q.follows() {
		token, q.Mark = b.Token(), b.Mark()
	}
	h := a.heir.Load()
	if h != nil && !a.stays(q.FD) {
		return a.askHeir(ctx, h, inquiry{Query: q, Token: token, Key: key}, enough)
	}
	own := make(chan reply, 1)
	a.respond(&q, token, func(r reply) { own <- r })
	select {
	case r := <-own:
		if enough(r) {
			return nil
		}
		own = nil
	default: // it follows what is on its way, and goes on while the others are asked
	}
	if h = a.heir.Load(); h != nil && q.FD != 0 { // it has moved in this moment
		return a.askHeir(ctx, h, inquiry{Query: q, Token: token, Key: key}, enough)
	}
	return a.askRest(ctx, own, key, q, enough)
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

// askRest is ask's part behind this node's first answer, nil = it is known.
func (a *App) askRest(ctx context.Context, own chan reply, key string, q query, enough func(reply) bool) error {
	ctx, cancel := context.WithTimeout(ctx, a.askTime)
	defer cancel()
	others, err := a.others(ctx)
	if own != nil && (err != nil || len(others) == 0) {
		if done, err := await(ctx, own, enough); done || err != nil {
			return err
		}
	}
	if err != nil {
		return err // what goes on the bus now comes when nobody waits for it any more
	}
	return a.askOthers(ctx, own, others, key, q, enough)
}

// await waits for this node's answer; done tells that it was enough.
func await(ctx context.Context, own chan reply, enough func(reply) bool) (done bool, err error) {
	select {
	case r := <-own:
		return enough(r), nil
	case <-ctx.Done():
		return false, fmt.Errorf("this node: %w", ErrPartial)
	}
}

// askOthers asks those nodes until ctx ends; own gives this one's answer, nil = it is known.
func (a *App) askOthers(ctx context.Context, own chan reply, others []string, key string, q query, enough func(reply) bool) error {
	if len(others) == 0 {
		return nil
	}
	k := &a.asks
	q.ID, q.Node = k.last.Add(1), a.nodeID
	answers := make(chan reply, len(others)+8)
	k.mu.Lock()
	k.open[q.ID] = answers
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.open, q.ID)
		k.mu.Unlock()
	}()
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	if err := a.tell(&bus.Message{Kind: question, Key: key, Body: body}); err != nil {
		return err
	}
	waiting := map[string]bool{}
	for _, id := range others {
		waiting[id] = true
	}
	for len(waiting) > 0 || own != nil {
		select {
		case r := <-own:
			if own = nil; enough(r) {
				return nil
			}
		case r := <-answers:
			if !waiting[r.Node] {
				continue
			}
			delete(waiting, r.Node)
			if enough(r) {
				return nil
			}
		case <-ctx.Done():
			missing := len(waiting)
			if own != nil {
				missing++
			}
			return fmt.Errorf("%d of %d nodes: %w", len(others)+1-missing, len(others)+1, ErrPartial)
		}
	}
	return nil
}

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
	answer := func(r reply) {
		r.ID, r.Node = q.ID, a.nodeID
		body, err := json.Marshal(r)
		if err == nil {
			err = a.tell(&bus.Message{Kind: answered, Key: q.Node, Body: body})
		}
		if err != nil && a.life.Err() == nil {
			a.log.Warn("answer to another node", zap.Error(err))
		}
	}
	if a.hub.Frozen() && q.changes() { // it may wait for a move that waits for us
		go a.protect("a question from another node", func() { a.respond(&q, m.From, answer) })
		return
	}
	a.respond(&q, m.From, answer)
}

// changes tells whether the question is one to change a connection.
func (q *query) changes() bool {
	switch q.Op {
	case "join", "leave", "leaveAll", "bind", "unbind", "setSession":
		return true
	}
	return false
}

func (a *App) answered(m *bus.Message) {
	if m.Key != a.nodeID {
		return
	}
	var r reply
	if err := json.Unmarshal(m.Body, &r); err != nil {
		a.log.Warn("answer from another node", zap.Error(err))
		return
	}
	a.asks.mu.Lock()
	ch := a.asks.open[r.ID]
	a.asks.mu.Unlock()
	select {
	case ch <- r: // nil, when nobody waits any more: never
	default:
	}
}

// Connection is one connection, as lists show it.
type Connection struct {
	FD   int64    `json:"fd"`
	Auth Identity `json:"auth"`
	UIDs []string `json:"uids,omitempty"`
	Node string   `json:"node"`
}

// NodeInfo is one node of the cluster.
type NodeInfo struct {
	ID          string `json:"id"`
	PID         int    `json:"pid"` // of its worker
	Connections int    `json:"connections"`
	Rooms       int    `json:"rooms"`
	UIDs        int    `json:"uids"`
	Since       int64  `json:"since"` // UNIX seconds: when its worker started
	Self        bool   `json:"self,omitempty"`
	Missing     bool   `json:"missing,omitempty"` // nobody has declared it dead, but it has not answered
}

// told are the errors that callers tell apart; between nodes an error is its text.
var told = []error{ErrName, ErrUID, ErrTooManyKeys, ErrSessionSize, hub.ErrTooManyRooms, hub.ErrTooManyUsers, hub.ErrClosed, hub.ErrSlow, ErrPartial}

func remoteError(text string) error {
	for _, err := range told {
		if before, ok := strings.CutSuffix(text, err.Error()); ok {
			return fmt.Errorf("%s%w", before, err)
		}
	}
	return errors.New(text)
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
			a.behind(token, q.Mark, a.askTime, func() { hub.CloseBehind(conns, q.Code, q.Text) })
			return reply{Found: q.FD != 0 && len(conns) > 0, N: len(conns)}
		})
	case "dismiss":
		a.behind(token, q.Mark, a.countTime(), func() {
			a.hub.Behind(q.Room, func() { // a move may wait for whoever calls this, and a leave for the move
				go a.protect("dismiss "+q.Room, func() { a.serve(q, token, answer, func() reply { return a.dismiss(q.Room) }) })
			})
		})
	case "reach":
		a.behind(token, q.Mark, a.countTime(), func() {
			a.serve(q, token, answer, func() reply {
				f := hub.TextFrame([]byte(q.Text))
				if d := q.Delivery; d != nil {
					f = f.With(hub.Handling{Class: d.Class, Key: d.Key, Except: d.Except})
				}
				return reply{N: a.deliverHere(toUID, q.UID, f)}
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
	if a.heir.Load() == nil || a.stays(q.FD) {
		r = here()
	}
	h := a.heir.Load()
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
		if a.heir.Load() != nil {
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
	case "online":
	case "join":
		fail(a.joinElsewhere(c, q.Room, q.Flag))
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
		r.Found = len(a.hub.User(q.UID)) > 0
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
