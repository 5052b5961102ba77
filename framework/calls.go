package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"wsframe/framework/api"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/wire"
)

// What follows reaches connections wherever they are. For one of this node it costs nothing; otherwise one write to Redis and an
// answer from every node, waited for at most as long as a Redis call may take (cache.master.timeout). ErrPartial tells that a
// node has not answered: what it was asked for may still happen. While Redis is away it comes at once, beside what this node knows.

var (
	errCode = errors.New("close codes are 1000 or 3000-4999, reasons at most 123 bytes")
)

// Join puts a connection into a room; see Ctx.Join.
func (s *Sender) Join(ctx context.Context, fd int64, room string, o ...JoinOption) error {
	if err := names.Room(room); err != nil {
		return err
	}
	return s.app.sessions.JoinFD(ctx, fd, room, joinOptions(o))
}

// Leave takes a connection out of a room, at once: it does not get what is still on its way to the room. Being in it is no condition.
func (s *Sender) Leave(ctx context.Context, fd int64, room string) error {
	if err := names.Room(room); err != nil {
		return err
	}
	return s.app.sessions.LeaveFD(ctx, fd, room)
}

// LeaveAll takes a connection out of all its rooms, as Leave does.
func (s *Sender) LeaveAll(ctx context.Context, fd int64) error {
	return s.app.sessions.LeaveAllFD(ctx, fd)
}

// DismissRoom takes all members out of a room and counts them. They get first what was sent to them, or to the room, before by the same
// caller; where that does not come, Redis being slow, it is waited for as long as a Redis call may take.
func (s *Sender) DismissRoom(ctx context.Context, room string) (int, error) {
	if err := names.Room(room); err != nil {
		return 0, err
	}
	return s.app.closer.Dismiss(ctx, room)
}

// BindUID has a connection reached by a uid; a token of a type in users.uid_types binds its id by itself.
func (s *Sender) BindUID(ctx context.Context, fd int64, uid string) error {
	if err := names.UID(uid); err != nil {
		return err
	}
	return s.app.sessions.BindFD(ctx, fd, uid)
}

// UnbindUID undoes BindUID.
func (s *Sender) UnbindUID(ctx context.Context, fd int64, uid string) error {
	if err := names.UID(uid); err != nil {
		return err
	}
	return s.app.sessions.UnbindFD(ctx, fd, uid)
}

// Session is what was kept with a connection by SetSession and UpdateSession.
func (s *Sender) Session(ctx context.Context, fd int64) (map[string]json.RawMessage, error) {
	return s.app.sessions.ValuesFD(ctx, fd)
}

// SetSession replaces a connection's session values; they live as long as the connection, through reloads.
func (s *Sender) SetSession(ctx context.Context, fd int64, values map[string]any) error {
	return s.app.sessions.ChangeFD(ctx, fd, values, false)
}

// UpdateSession merges values into a connection's session; nil removes a key.
func (s *Sender) UpdateSession(ctx context.Context, fd int64, values map[string]any) error {
	return s.app.sessions.ChangeFD(ctx, fd, values, true)
}

func checkClose(code *int, reason string) error {
	if *code == 0 {
		*code = CloseKicked
	}
	if !wire.MayClose(*code) || len(reason) > wire.MaxReason {
		return fmt.Errorf("%d: %w", *code, errCode)
	}
	return nil
}

// Kick closes a connection behind what was sent to it before by the same caller, in whatever way, and what is queued for it. It does not
// wait for that, nor does the close wait longer than a Redis call may take. Codes are 1000 or 3000-4999, 0 = 4011; a reason has at most 123 bytes.
func (s *Sender) Kick(ctx context.Context, fd int64, code int, reason string) error {
	if err := checkClose(&code, reason); err != nil {
		return err
	}
	return s.app.closer.Kick(ctx, fd, code, reason)
}

// KickUID closes all connections of a user, as Kick does, and counts them.
func (s *Sender) KickUID(ctx context.Context, uid string, code int, reason string) (int, error) {
	if err := errors.Join(names.UID(uid), checkClose(&code, reason)); err != nil {
		return 0, err
	}
	return s.app.closer.KickUID(ctx, uid, code, reason)
}

// Reach is SendToUID that waits for how many connections have taken the push. Like DismissRoom it comes behind what was sent before.
func (s *Sender) Reach(ctx context.Context, uid string, r *Reply, o ...PublishOption) (connections int, err error) {
	if err := names.UID(uid); err != nil {
		return 0, err
	}
	var d *delivery
	if len(o) > 0 {
		d = &delivery{}
		apply(o)(d)
	}
	return s.app.publisher.Reach(ctx, uid, r, d)
}

// IsOnline tells whether a node has the connection.
func (s *Sender) IsOnline(ctx context.Context, fd int64) (bool, error) {
	return s.app.directory.Online(ctx, fd)
}

// IsUIDOnline tells whether a user has a connection.
func (s *Sender) IsUIDOnline(ctx context.Context, uid string) (online bool, err error) {
	if err := names.UID(uid); err != nil {
		return false, err
	}
	return s.app.directory.UIDOnline(ctx, uid)
}

// Counts are totals over all nodes.
type Counts = api.Counts

// Counts counts over all nodes.
func (s *Sender) Counts(ctx context.Context) (Counts, error) { return s.app.directory.Counts(ctx) }

// RoomCount is the number of members of a room.
func (s *Sender) RoomCount(ctx context.Context, room string) (int, error) {
	if err := names.Room(room); err != nil {
		return 0, err
	}
	return s.app.directory.RoomCount(ctx, room)
}

// Connections lists connections by fd, those beyond after, at most limit, which is at most 1,000.
func (s *Sender) Connections(ctx context.Context, after int64, limit int) ([]Connection, error) {
	return s.app.directory.Connections(ctx, after, limit)
}

// RoomMembers lists the members of a room, as Connections does.
func (s *Sender) RoomMembers(ctx context.Context, room string, after int64, limit int) ([]Connection, error) {
	if err := names.Room(room); err != nil {
		return nil, err
	}
	return s.app.directory.RoomMembers(ctx, room, after, limit)
}

// UIDs lists users that have connections, by name, those beyond after, at most limit.
func (s *Sender) UIDs(ctx context.Context, after string, limit int) ([]string, error) {
	return s.app.directory.UIDs(ctx, after, limit)
}

// RoomNames lists rooms that have members, by name, those beyond after, at most limit.
func (s *Sender) RoomNames(ctx context.Context, after string, limit int) ([]string, error) {
	return s.app.directory.RoomNames(ctx, after, limit)
}

// Nodes lists the nodes that live, this one first. Beside ErrPartial others may live that are not known.
func (s *Sender) Nodes(ctx context.Context) ([]NodeInfo, error) { return s.app.directory.Nodes(ctx) }
