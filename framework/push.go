package framework

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/bus"
	"wsframe/framework/frame"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/wire"
	"wsframe/library/cache"
)

// ErrTooLarge is returned for a push that would not fit into an empty outbox (limits.outbox_bytes), as it would be sent.
var ErrTooLarge = hub.ErrTooLarge

// PublishOption says how a push is to be treated.
type PublishOption func(*delivery)

type delivery = envelope.Delivery

// Except leaves out connections.
func Except(fds ...int64) PublishOption {
	return func(d *delivery) { d.Add(fds...) }
}

// DropOldest is for what loses its worth with time, like barrage: for a connection that is slow the oldest such frames are dropped.
// Without a class a push is never dropped: a connection whose outbox is full is closed with 4008, and recovery brings it back.
func DropOldest(d *delivery) { d.Class = wire.DropOldest }

// Latest is for values of which only the newest counts: a waiting frame of the same key is replaced.
func Latest(key string) PublishOption {
	return func(d *delivery) { d.Class, d.Key = wire.Latest, key }
}

// Keep has a push to a room kept in its history, which then holds at most length pushes and none older than age. It overrides the
// configuration's history.rooms.
func Keep(length int, age time.Duration) PublishOption {
	return func(d *delivery) { d.Keep, d.Age = length, age }
}

// Durable has a push wait until the store has it, so that it arrives although this node dies: a round trip to Redis, or some milliseconds
// for the disk with the embedded store, and at most the time of one call (cache.master.timeout). A push that is not kept and that only this node's
// connections can get is not stored, and does not wait. ErrNotTaken and ErrUnknown tell that a kept push was not stored, or may not have
// been; ErrQueued that another one was delivered here, and waits for Redis for other nodes.
func Durable(d *delivery) { d.Durable = true }

// What a push with Durable may end in, beside the errors of one without.
var (
	ErrNotTaken = bus.ErrNotTaken // it will not be delivered
	ErrUnknown  = bus.ErrUnknown  // it may still be delivered
	ErrQueued   = bus.ErrQueued   // connections of this node have it
)

// dispatch sends a push to wherever its targets are. It waits for nobody.
func (a *App) dispatch(kind byte, key string, r *Reply, options []PublishOption) error {
	if a.node.Isolated() && (kind == envelope.ToRoom || !a.alone) {
		return ErrUnavailable
	}
	var d delivery
	if kind == envelope.ToRoom {
		a.history.Limits(key, &d)
	}
	for _, o := range options {
		o(&d)
	}
	payload, err := a.payload(r)
	if err != nil {
		return err
	}
	if size := wire.FrameLen(len(payload) - wire.Headroom + envelope.MaxPosition(key)); d.Keep > 0 && size > a.cfg.Limits.OutboxBytes {
		return fmt.Errorf("%s: %d bytes: %w", r.Event, size, ErrTooLarge)
	}
	// The only node tells itself nothing, but for what gets its position in Redis, and what is to come behind that.
	if a.alone && d.Keep == 0 && a.link.Phase().Owns() && (kind != envelope.ToRoom || !a.link.Keeps(key)) {
		a.deliverHere(kind, key, d.Frame(payload))
		return nil
	}
	m := &bus.Message{Kind: kind, Key: key, Body: envelope.Seal(&d, payload[wire.Headroom:]), Keep: d.Keep, Age: d.Age}
	err = a.link.Put(m, d.Durable)
	switch {
	case errors.Is(err, ErrQueued):
		a.deliverHere(kind, key, d.Frame(payload))
		if !d.Durable {
			return nil
		}
	case err == nil && d.Durable && d.Keep > 0 && a.alone:
		return a.sync()
	}
	return err
}

// sync waits for the embedded store's disk.
func (a *App) sync() error {
	ctx, cancel := context.WithTimeout(context.Background(), a.askTime)
	defer cancel()
	if err := cache.Sync(ctx, a.stores.Bus); err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}

// payload encodes a push behind the headroom of its frame.
func (a *App) payload(r *Reply) ([]byte, error) {
	payload, err := frame.AppendReply(make([]byte, wire.Headroom, 256), r, nil)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", r.Event, err)
	}
	if size := wire.FrameLen(len(payload) - wire.Headroom); size > a.cfg.Limits.OutboxBytes {
		return nil, fmt.Errorf("%s: %d bytes: %w", r.Event, size, ErrTooLarge)
	}
	return payload, nil
}

// deliverHere writes a push to those of its targets that are here, and counts them.
func (a *App) deliverHere(kind byte, key string, f wire.Frame) int {
	switch kind {
	case envelope.ToRoom:
		n := a.hub.Publish(key, f)
		a.syncRoom(key)
		return n
	case envelope.ToUID:
		return hub.SendTo(a.hub.User(key), f)
	case envelope.ToAll:
		return a.hub.Broadcast(f)
	case envelope.ToFD:
		if fd, err := strconv.ParseInt(key, 10, 64); err == nil {
			if c := a.hub.Get(fd); c != nil && c.Send(f) == nil {
				return 1
			}
		}
	}
	return 0
}

// received takes what a node has told, this one too (bus.Config.Receive). It does not wait for Redis.
func (a *App) received(m *bus.Message) {
	switch m.Kind {
	case envelope.ToRoom, envelope.ToUID, envelope.ToAll, envelope.ToFD:
		d, payload, err := envelope.Open(m.Body)
		if err != nil {
			a.log.Warn("push from another node", zap.Error(err))
			return
		}
		if m.Kind == envelope.ToRoom {
			a.history.Before(m)
		}
		a.deliverHere(m.Kind, m.Key, d.FrameOf(payload, m))
	case envelope.Position:
		a.history.Position(m)
	case envelope.Question:
		a.nodes.Questioned(m)
	case envelope.Answer:
		a.nodes.Answered(m)
	case envelope.Login:
		a.sessions.LoggedIn(m)
	case envelope.Refusal:
		a.sessions.LoginRefused(m)
	}
}

// pushAs is push with options.
func (a *App) pushAs(c *hub.Conn, r *Reply, options []PublishOption) error {
	var d delivery
	for _, o := range options {
		o(&d)
	}
	payload, err := a.payload(r)
	if err != nil {
		return err
	}
	return c.Send(d.Frame(payload))
}

// HistoryItem is a kept push.
type HistoryItem = api.HistoryItem

// HistoryPage is a part of a room's history.
type HistoryPage = api.HistoryPage

// History reads a room's kept pushes beyond the offset after, the oldest first. It costs one Redis call. after < 0 gives the
// newest ones, for two. limit is at most 1,000.
func (s *Sender) History(ctx context.Context, room string, after int64, limit int) (HistoryPage, error) {
	if err := names.Room(room); err != nil {
		return HistoryPage{}, err
	}
	return s.app.history.Page(ctx, room, after, limit)
}

// SendToFD sends an unasked frame to one connection, wherever it is. It never waits. ErrClosed and ErrSlow are known only of this
// node's connections; for another's it costs one write to Redis, in the background.
func (s *Sender) SendToFD(fd int64, r *Reply, o ...PublishOption) error {
	a := s.app
	if c := a.hub.Get(fd); c != nil || a.alone && a.link.Phase().Owns() {
		if c == nil {
			return ErrNoConnection
		}
		if len(o) == 0 {
			return a.push(c, r)
		}
		return a.pushAs(c, r, o) // the same way: the two keep their order
	}
	return a.dispatch(envelope.ToFD, strconv.FormatInt(fd, 10), r, o)
}

// SendToUID sends an unasked frame to all connections of a user, on all nodes. It never waits, and costs one write to Redis where
// there may be other nodes.
func (s *Sender) SendToUID(uid string, r *Reply, o ...PublishOption) error {
	if err := names.UID(uid); err != nil {
		return err
	}
	return s.app.dispatch(envelope.ToUID, uid, r, o)
}

// SendToRoom sends an unasked frame to every member of a room, on all nodes. Members get a room's frames in one order, the same on
// every node. It waits for Redis only with Durable, and costs it one write where there may be other nodes or the push is kept, whatever
// the number of members. An error means that it was not taken: it cannot be encoded, is too large, or too much waits for Redis; ErrNotTaken
// that it was to be kept and that Redis has no memory, ErrUnavailable that this node is cut off from Redis.
func (s *Sender) SendToRoom(room string, r *Reply, o ...PublishOption) error {
	if err := names.Room(room); err != nil {
		return err
	}
	return s.app.dispatch(envelope.ToRoom, room, r, o)
}

// Publish is SendToRoom.
func (s *Sender) Publish(room string, r *Reply, o ...PublishOption) error {
	return s.SendToRoom(room, r, o...)
}

// SendToAll sends an unasked frame to every connection of all nodes. It never waits.
func (s *Sender) SendToAll(r *Reply, o ...PublishOption) error {
	return s.app.dispatch(envelope.ToAll, "", r, o)
}

// Settle waits until Redis has what was sent here before, so that it arrives although this node dies: a round trip or two. It waits at
// most as long as a Redis call may take; where that was in vain nobody waits for a second: what is sent while Redis is away is kept here.
func (s *Sender) Settle(ctx context.Context) { s.app.link.Settle(ctx, s.app.askTime) }
