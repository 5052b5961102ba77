// Package publish sends pushes to where their targets are: a room, a user, a connection or all, on whatever nodes, and writes those that
// come to the targets of this one.
//
// A push goes out over the link, in an order for each target that is the same on all nodes, and comes back from it to this node, too. The
// only node of a store of its own delivers at once, unless the push is kept, which gets its place in the history first. Nothing here waits,
// but for a push that is Durable. A Publisher is safe for concurrent use.
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
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/wire"
)

// ErrUnavailable is returned for a push that no other node could get: this one has not reached Redis for the time of a lease.
var ErrUnavailable = errors.New("this node is cut off from Redis")

// Config of a Publisher.
type Config struct {
	Hub         *hub.Hub
	Nodes       *ask.Nodes
	Link        *link.Link
	History     *history.History
	Alone       bool                            // there are no other nodes
	OutboxBytes int                             // of a connection: what is larger fits into none
	Isolated    func() bool                     // this node is cut off from Redis
	Sync        func(ctx context.Context) error // waits for the disk of a store that is this node's own
	Published   func(room string)               // hears of each push to a room here
	Log         *zap.Logger
}

// Publisher is made by New.
type Publisher struct{ cfg Config }

// New makes a Publisher, and has this node answer others.
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

// reachQuestion has a push written to a user's connections, and these counted.
type reachQuestion struct {
	UID      string             `json:"u,omitempty"`
	Payload  string             `json:"t,omitempty"`
	Delivery *envelope.Delivery `json:"d,omitempty"`
}

var opReach = ask.Op[reachQuestion, struct{}]{Name: "reach", Kind: ask.Follows}

// Reach sends a push to all connections of a user, after what was sent here before, and waits for how many have taken it. d nil = the
// default.
func (p *Publisher) Reach(ctx context.Context, uid string, r *frame.Reply, d *envelope.Delivery) (int, error) {
	payload, err := p.payload(r)
	if err != nil {
		return 0, err
	}
	return ask.Sum(ctx, p.cfg.Nodes, opReach, uid, reachQuestion{uid, string(payload[wire.Headroom:]), d})
}

// Send sends a push to wherever its targets are: kind and key are as in a message between nodes. options change how it is treated,
// after the configuration's rules.
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
	// The only node tells itself nothing, but for what gets its position in Redis, and what is to come after that.
	if p.direct() && d.Keep == 0 && (kind != envelope.ToRoom || !p.cfg.Link.Keeps(key)) {
		p.Deliver(kind, key, d.Frame(payload))
		return nil
	}
	m := &bus.Message{Kind: kind, Key: key, Body: envelope.Seal(&d, payload[wire.Headroom:]), Keep: d.Keep, Age: d.Age}
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

// direct tells whether all connections that there are are this worker's.
func (p *Publisher) direct() bool { return p.cfg.Alone && p.cfg.Link.Phase().Owns() }

// sync waits for the embedded store's disk.
func (p *Publisher) sync() error {
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.Nodes.Timeout())
	defer cancel()
	if err := p.cfg.Sync(ctx); err != nil {
		return fmt.Errorf("%w: %w", bus.ErrUnknown, err)
	}
	return nil
}

// Find gives a connection of this node; nil with elsewhere where another node or worker may have it.
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

// Deliver writes a push to those of its targets that are here, and counts them.
func (p *Publisher) Deliver(kind byte, key string, f wire.Frame) int {
	switch kind {
	case envelope.ToRoom:
		n := p.cfg.Hub.Publish(key, f)
		p.cfg.Published(key)
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

// Received takes a push from the bus, this node's own too. It does not wait for Redis.
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
