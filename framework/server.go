package framework

import (
	"context"
	"strconv"
	"time"

	"wsframe/framework/api"
	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/publish"
	"wsframe/framework/internal/wire"
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

// ErrUnavailable is returned for a push that no other node could get: this one has not reached Redis for the time of a lease.
var ErrUnavailable = publish.ErrUnavailable

// apply is what options change of a push.
func apply(options []PublishOption) func(*delivery) {
	return func(d *delivery) {
		for _, o := range options {
			o(d)
		}
	}
}

// received takes what a node has told, this one too (bus.Config.Receive). It does not wait for Redis.
func (a *App) received(m *bus.Message) {
	switch m.Kind {
	case envelope.ToRoom, envelope.ToUID, envelope.ToAll, envelope.ToFD:
		a.publisher.Received(m)
	case envelope.Position:
		a.history.Position(m)
	case envelope.Question:
		a.nodes.Questioned(m)
	case envelope.Answer:
		a.nodes.Answered(m)
	case envelope.Login:
		a.sessions.Logins.Received(m)
	case envelope.Refusal:
		a.sessions.Logins.Refused(m)
	}
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
	c, elsewhere := a.publisher.Find(fd)
	switch {
	case elsewhere:
		return a.publisher.Send(envelope.ToFD, strconv.FormatInt(fd, 10), r, apply(o))
	case c == nil:
		return ErrNoConnection
	case len(o) == 0:
		return a.push(c, r)
	}
	return a.publisher.SendTo(c, r, apply(o)) // the same way: the two keep their order
}

// SendToUID sends an unasked frame to all connections of a user, on all nodes. It never waits, and costs one write to Redis where
// there may be other nodes.
func (s *Sender) SendToUID(uid string, r *Reply, o ...PublishOption) error {
	if err := names.UID(uid); err != nil {
		return err
	}
	return s.app.publisher.Send(envelope.ToUID, uid, r, apply(o))
}

// SendToRoom sends an unasked frame to every member of a room, on all nodes. Members get a room's frames in one order, the same on
// every node. It waits for Redis only with Durable, and costs it one write where there may be other nodes or the push is kept, whatever
// the number of members. An error means that it was not taken: it cannot be encoded, is too large, or too much waits for Redis; ErrNotTaken
// that it was to be kept and that Redis has no memory, ErrUnavailable that this node is cut off from Redis.
func (s *Sender) SendToRoom(room string, r *Reply, o ...PublishOption) error {
	if err := names.Room(room); err != nil {
		return err
	}
	return s.app.publisher.Send(envelope.ToRoom, room, r, apply(o))
}

// Publish is SendToRoom.
func (s *Sender) Publish(room string, r *Reply, o ...PublishOption) error {
	return s.SendToRoom(room, r, o...)
}

// SendToAll sends an unasked frame to every connection of all nodes. It never waits.
func (s *Sender) SendToAll(r *Reply, o ...PublishOption) error {
	return s.app.publisher.Send(envelope.ToAll, "", r, apply(o))
}

// Settle waits until Redis has what was sent here before, so that it arrives although this node dies: a round trip or two. It waits at
// most as long as a Redis call may take; where that was in vain nobody waits for a second: what is sent while Redis is away is kept here.
func (s *Sender) Settle(ctx context.Context) { s.app.link.Settle(ctx, s.app.askTime) }
