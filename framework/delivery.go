package framework

import (
	"time"

	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
)

// PublishOption says how a push is to be treated.
type PublishOption func(*delivery)

type delivery = envelope.Delivery

// Except leaves out connections.
func Except(fds ...int64) PublishOption {
	return func(d *delivery) { d.Add(fds...) }
}

// DropOldest is for pushes that lose their worth with time, such as barrage: a slow connection
// loses its oldest frames of this class. Pushes without a class are never dropped: a connection
// whose outbox is full is closed with 4008, and recovers what it missed when it reconnects.
func DropOldest(d *delivery) { d.Class = wire.DropOldest }

// Latest is for values of which only the newest counts: it replaces a waiting frame of the same
// key.
func Latest(key string) PublishOption {
	return func(d *delivery) { d.Class, d.Key = wire.Latest, key }
}

// Keep stores a push to a room in the room's history, which then holds at most length pushes and
// none older than age. It overrides the configuration's history.rooms.
func Keep(length int, age time.Duration) PublishOption {
	return func(d *delivery) { d.Keep, d.Age = length, age }
}

// Durable makes a push wait until the store has it, so that it arrives although this node dies.
// That takes a round trip to Redis, or some milliseconds for the disk with the embedded store, and
// at most cache.master.timeout. A push that is not kept, and that only connections of this node can
// get, is not stored and does not wait. ErrNotTaken and ErrUnknown report a kept push that was not
// stored, or may not have been; ErrQueued reports another push that waits for Redis for other
// nodes.
func Durable(d *delivery) { d.Durable = true }

// apply gives a function that applies all options to a push.
func apply(options []PublishOption) func(*delivery) {
	return func(d *delivery) {
		for _, o := range options {
			o(d)
		}
	}
}

// JoinOption changes what a Join does.
type JoinOption func(*joining)

type joining = session.Joining

// Announce notifies the room's members when this user joins and leaves (EventJoined, EventLeft).
// The user is the connection's uid: the token's id for the types of users.uid_types, otherwise the
// first uid that was bound. A connection without a uid is not announced. Several connections of a
// user count once, and an absence of less than 5 s is not announced. Rooms of the configuration's
// presence.rooms announce all their members without this option.
func Announce(j *joining) { j.Announce = true }

// Kept declares that senders keep their pushes to the room (Keep). A member then learns the
// position of the room's history although nothing was kept so far, and can recover all that is kept
// while it is disconnected. Rooms of the configuration's history.rooms do not need this option.
func Kept(j *joining) { j.Kept = true }

func joinOptions(options []JoinOption) (j joining) {
	for _, o := range options {
		o(&j)
	}
	return j
}
