// Package publish sends pushes to a room, a user, a connection or all, on any node. It also writes
// the pushes of all nodes to the targets on this one.
//
// The link carries a push to all nodes, this one too, in one order for each target. A node without
// others delivers at once. The exception are pushes that are kept: these get their place in the
// history first, and later pushes to the same room follow them.
//
// Only a push that is Durable makes its sender wait. A Publisher is safe for concurrent use.
package publish

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/frame"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/wire"
)

// ErrUnavailable is returned for a push that no other node could get: Redis has not answered this
// node for the time of a lease.
var ErrUnavailable = errors.New("this node is cut off from Redis")

// Link is this node's way to all nodes, itself among them (package link).
type Link interface {
	Phase() link.Phase
	// Put sends a message: see bus.Put.
	Put(m *bus.Message, wait bool) error
	// Keeps tells whether pushes to the room wait to be kept.
	Keeps(room string) bool
}

// History knows which rooms keep their pushes (package history).
type History interface {
	// Limits sets how the room keeps the push.
	Limits(room string, d *envelope.Delivery)
	// Before sees each push to a room before it is delivered.
	Before(m *bus.Message)
}

// Config of a Publisher.
type Config struct {
	Hub         *hub.Hub
	Nodes       *ask.Nodes
	Link        Link
	History     History
	Alone       bool // there are no other nodes
	OutboxBytes int  // the outbox of a connection, which bounds the size of a push
	// Isolated tells whether this node is cut off from Redis.
	Isolated func() bool
	// Sync waits for the disk of a store that belongs to this node alone.
	Sync func(ctx context.Context) error
	// Published is called after each delivery to a room, and for each push to a room that this node
	// sends, with sent.
	Published func(room string, sent bool)
	Log       *zap.Logger
}

// Publisher sends and delivers pushes. New makes one.
type Publisher struct{ cfg Config }

// New makes a Publisher, and registers the question by which other nodes reach users here.
func New(cfg Config) *Publisher {
	p := &Publisher{cfg}
	ask.HandleAfter(cfg.Nodes, opReach, func(_ int64, q reachQuestion, t ask.Turn[struct{}]) {
		t.After(cfg.Nodes.CountTime(), func() {
			t.Answer(func() ask.Answer[struct{}] {
				var d envelope.Delivery
				if q.Delivery != nil {
					d = *q.Delivery
				}
				f := d.Frame(append(make([]byte, wire.Headroom, wire.Headroom+len(q.Payload)), q.Payload...))
				return ask.Answer[struct{}]{Count: p.Deliver(envelope.ToUID, q.UID, f)}
			})
		})
	})
	return p
}

// reachQuestion asks a node to write a push to a user's connections and to count these. The names
// of its fields travel between nodes.
type reachQuestion struct {
	UID      string             `json:"u,omitempty"`
	Payload  string             `json:"t,omitempty"`
	Delivery *envelope.Delivery `json:"d,omitempty"`
}

var opReach = ask.Op[reachQuestion, struct{}]{Name: "reach", Kind: ask.Follows}

// Reach sends a push to all connections of a user, after everything that was sent here before, and
// returns how many connections have taken it. d may be nil, which is the default Delivery.
//
// ask.ErrPartial comes with the count of the nodes that have answered in time, hub.ErrTooLarge with
// a push that fits into no outbox.
func (p *Publisher) Reach(ctx context.Context, uid string, r *frame.Reply, d *envelope.Delivery) (int, error) {
	payload, err := p.payload(r)
	if err != nil {
		return 0, err
	}
	return ask.Sum(ctx, p.cfg.Nodes, opReach, uid, reachQuestion{uid, string(payload[wire.Headroom:]), d})
}

// Send sends a push to its targets on all nodes. kind and key are those of the message between
// nodes (package envelope). options change the Delivery that the configuration's rules give.
//
// ErrUnavailable where this node is cut off, hub.ErrTooLarge for a push that fits into no outbox,
// bus.ErrFull where too many messages wait. Of a Durable push bus.ErrQueued and bus.ErrUnknown tell
// what is known: see bus.Put.
func (p *Publisher) Send(kind byte, key string, r *frame.Reply, options func(*envelope.Delivery)) error {
	if p.cfg.Isolated() && (kind == envelope.ToRoom || !p.cfg.Alone) {
		return ErrUnavailable
	}
	var d envelope.Delivery
	if kind == envelope.ToRoom {
		p.cfg.History.Limits(key, &d)
	}
	options(&d)
	payload, err := p.payload(r)
	if err != nil {
		return err
	}
	if size := wire.FrameLen(len(payload) - wire.Headroom + envelope.MaxPosition(key)); d.Keep > 0 && size > p.cfg.OutboxBytes {
		return fmt.Errorf("%s: %d bytes: %w", r.Event, size, hub.ErrTooLarge)
	}
	if kind == envelope.ToRoom {
		p.cfg.Published(key, true)
	}
	// Redis gives a kept push its position, and later pushes to the room must not overtake it.
	if p.direct() && d.Keep == 0 && (kind != envelope.ToRoom || !p.cfg.Link.Keeps(key)) {
		p.Deliver(kind, key, d.Frame(payload))
		return nil
	}
	m := &bus.Message{Kind: kind, Key: key, Room: kind == envelope.ToRoom, Body: envelope.Seal(&d, payload[wire.Headroom:]), Keep: d.Keep, Age: d.Age}
	err = p.cfg.Link.Put(m, d.Durable)
	switch {
	case errors.Is(err, bus.ErrQueued):
		p.Deliver(kind, key, d.Frame(payload))
		if !d.Durable {
			return nil
		}
	case err == nil && d.Durable && d.Keep > 0 && p.cfg.Alone:
		return p.sync()
	}
	return err
}

// direct tells whether this worker has all connections of all nodes, so that no message is needed.
func (p *Publisher) direct() bool { return p.cfg.Alone && p.cfg.Link.Phase().Owns() }

// sync waits until the embedded store has the push on its disk.
func (p *Publisher) sync() error {
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.Nodes.Timeout())
	defer cancel()
	if err := p.cfg.Sync(ctx); err != nil {
		return fmt.Errorf("%w: %w", bus.ErrUnknown, err)
	}
	return nil
}

// Find returns a connection of this worker. Where it is nil, elsewhere tells whether another node
// or worker may have it.
func (p *Publisher) Find(fd int64) (c *hub.Conn, elsewhere bool) {
	c = p.cfg.Hub.Get(fd)
	return c, c == nil && !p.direct()
}

// SendTo sends a push to one connection of this node.
func (p *Publisher) SendTo(c *hub.Conn, r *frame.Reply, options func(*envelope.Delivery)) error {
	var d envelope.Delivery
	options(&d)
	payload, err := p.payload(r)
	if err != nil {
		return err
	}
	return c.Send(d.Frame(payload))
}

// payload encodes a push after the headroom of its frame.
func (p *Publisher) payload(r *frame.Reply) ([]byte, error) {
	payload, err := frame.AppendReply(make([]byte, wire.Headroom, 256), r, nil)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", r.Event, err)
	}
	if size := wire.FrameLen(len(payload) - wire.Headroom); size > p.cfg.OutboxBytes {
		return nil, fmt.Errorf("%s: %d bytes: %w", r.Event, size, hub.ErrTooLarge)
	}
	return payload, nil
}

// Deliver writes a push to those of its targets that are on this node, and returns their number.
func (p *Publisher) Deliver(kind byte, key string, f wire.Frame) int {
	switch kind {
	case envelope.ToRoom:
		n := p.cfg.Hub.Publish(key, f)
		p.cfg.Published(key, false)
		return n
	case envelope.ToUID:
		return hub.SendTo(p.cfg.Hub.User(key), f)
	case envelope.ToAll:
		return p.cfg.Hub.Broadcast(f)
	case envelope.ToFD:
		if fd, err := strconv.ParseInt(key, 10, 64); err == nil {
			if c := p.cfg.Hub.Get(fd); c != nil && c.Send(f) == nil {
				return 1
			}
		}
	}
	return 0
}

// Received delivers a push that came over the link, from another node or from this one. It does not
// wait for Redis.
func (p *Publisher) Received(m *bus.Message) {
	d, payload, err := envelope.Open(m.Body)
	if err != nil {
		p.cfg.Log.Warn("push from another node", zap.Error(err))
		return
	}
	if m.Kind == envelope.ToRoom {
		p.cfg.History.Before(m)
	}
	p.Deliver(m.Kind, m.Key, d.FrameOf(payload, m))
}
