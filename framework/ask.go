package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/cluster"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/room"
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
	Kept     bool                       `json:"k,omitempty"`
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
	if q.follows() {
		token, q.Mark = a.link.Cursor()
	}
	h := a.successor()
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
	if h = a.successor(); h != nil && q.FD != 0 { // it has moved in this moment
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
	if err := a.link.Send(&bus.Message{Kind: envelope.Question, Key: key, Body: body}); err != nil {
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

func (a *App) answered(m *bus.Message) {
	if m.Key != a.nodeID {
		return
	}
	var r reply
	if err := json.Unmarshal(m.Body, &r); err != nil {
		a.log.Warn("answer from another node", zap.Error(err))
		return
	}
	a.node.Heard(r.Node)
	a.asks.mu.Lock()
	ch := a.asks.open[r.ID]
	a.asks.mu.Unlock()
	select {
	case ch <- r: // nil, when nobody waits any more: never
	default:
	}
}

// told are the errors that callers tell apart; between nodes an error is its text.
var told = []error{ErrName, ErrReserved, ErrUID, ErrTooManyKeys, ErrSessionSize, room.ErrTooManyRooms, hub.ErrTooManyUsers, hub.ErrClosed, hub.ErrSlow, ErrPartial}

func remoteError(text string) error {
	for _, err := range told {
		if before, ok := strings.CutSuffix(text, err.Error()); ok {
			return fmt.Errorf("%s%w", before, err)
		}
	}
	return errors.New(text)
}
