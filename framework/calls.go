package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"wsframe/framework/internal/names"
	"wsframe/framework/internal/wire"
)

// Join puts a connection into a room; see Ctx.Join.
func (s *Server) Join(ctx context.Context, fd int64, room string, o ...JoinOption) error {
	if err := names.Room(room); err != nil {
		return err
	}
	return s.sessions.JoinFD(ctx, fd, room, joinOptions(o))
}

// Leave takes a connection out of a room, at once: pushes to the room that are still on their way
// do not reach it. A connection that is not in the room is no error.
func (s *Server) Leave(ctx context.Context, fd int64, room string) error {
	if err := names.Room(room); err != nil {
		return err
	}
	return s.sessions.LeaveFD(ctx, fd, room)
}

// LeaveAll takes a connection out of all its rooms, as Leave does.
func (s *Server) LeaveAll(ctx context.Context, fd int64) error {
	return s.sessions.LeaveAllFD(ctx, fd)
}

// DismissRoom removes all members from a room and returns their number. Members first get what the
// same caller sent to them, or to the room, before; the call waits for that at most
// cache.master.timeout.
func (s *Server) DismissRoom(ctx context.Context, room string) (int, error) {
	if err := names.Room(room); err != nil {
		return 0, err
	}
	return s.closer.Dismiss(ctx, room)
}

// BindUID makes a connection reachable by a uid. The id of a token is bound automatically where
// users.uid_types has its type.
func (s *Server) BindUID(ctx context.Context, fd int64, uid string) error {
	if err := names.UID(uid); err != nil {
		return err
	}
	return s.sessions.BindFD(ctx, fd, uid)
}

// UnbindUID undoes BindUID.
func (s *Server) UnbindUID(ctx context.Context, fd int64, uid string) error {
	if err := names.UID(uid); err != nil {
		return err
	}
	return s.sessions.UnbindFD(ctx, fd, uid)
}

// Session returns the values that SetSession and UpdateSession have kept with a connection.
func (s *Server) Session(ctx context.Context, fd int64) (map[string]json.RawMessage, error) {
	return s.sessions.ValuesFD(ctx, fd)
}

// SetSession replaces a connection's session values. They live as long as the connection, through
// reloads. ErrSessionSize beyond 16 KiB of JSON.
func (s *Server) SetSession(ctx context.Context, fd int64, values map[string]any) error {
	return s.sessions.ChangeFD(ctx, fd, values, false)
}

// UpdateSession merges values into a connection's session; nil removes a key.
func (s *Server) UpdateSession(ctx context.Context, fd int64, values map[string]any) error {
	return s.sessions.ChangeFD(ctx, fd, values, true)
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

// Kick closes a connection after what the same caller sent to it before and what is queued for it.
// The call returns at once; the close waits for earlier pushes at most cache.master.timeout. Codes
// are 1000 or 3000-4999, 0 means 4011; a reason has at most 123 bytes (RFC 6455 §5.5).
func (s *Server) Kick(ctx context.Context, fd int64, code int, reason string) error {
	if err := checkClose(&code, reason); err != nil {
		return err
	}
	return s.closer.Kick(ctx, fd, code, reason)
}

// KickUID closes all connections of a user, as Kick does, and returns their number.
func (s *Server) KickUID(ctx context.Context, uid string, code int, reason string) (int, error) {
	if err := errors.Join(names.UID(uid), checkClose(&code, reason)); err != nil {
		return 0, err
	}
	return s.closer.KickUID(ctx, uid, code, reason)
}

// Reach sends a push to all connections of a user and returns the number that accepted it. Unlike
// SendToUID it waits for the answers of the nodes. Like DismissRoom it keeps the order with earlier
// pushes of the caller. The uid may also be that of a user whom PHP or a page of web-msg-sender has
// named by other characters, of which each byte is %XX then.
func (s *Server) Reach(ctx context.Context, uid string, r *Reply, o ...PublishOption) (connections int, err error) {
	if err := names.AnyUID(uid); err != nil {
		return 0, err
	}
	var d *delivery
	if len(o) > 0 {
		d = &delivery{}
		apply(o)(d)
	}
	return s.publisher.Reach(ctx, uid, r, d)
}

// IsOnline reports whether any node has the connection.
func (s *Server) IsOnline(ctx context.Context, fd int64) (bool, error) {
	return s.directory.Online(ctx, fd)
}

// IsUIDOnline reports whether a user has a connection.
func (s *Server) IsUIDOnline(ctx context.Context, uid string) (online bool, err error) {
	if err := names.UID(uid); err != nil {
		return false, err
	}
	return s.directory.UIDOnline(ctx, uid)
}

// Counts returns totals over all nodes.
func (s *Server) Counts(ctx context.Context) (Counts, error) { return s.directory.Counts(ctx) }

// RoomCount returns the number of members of a room, over all nodes.
func (s *Server) RoomCount(ctx context.Context, room string) (int, error) {
	if err := names.Room(room); err != nil {
		return 0, err
	}
	return s.directory.RoomCount(ctx, room)
}

// Connections lists connections with an fd above after, by fd, at most limit. limit is at most
// 1,000.
func (s *Server) Connections(ctx context.Context, after int64, limit int) ([]Connection, error) {
	return s.directory.Connections(ctx, after, limit)
}

// RoomMembers lists the members of a room, as Connections does.
func (s *Server) RoomMembers(ctx context.Context, room string, after int64, limit int) ([]Connection, error) {
	if err := names.Room(room); err != nil {
		return nil, err
	}
	return s.directory.RoomMembers(ctx, room, after, limit)
}

// UIDs lists users that have connections, by name, those after the given one, at most limit.
func (s *Server) UIDs(ctx context.Context, after string, limit int) ([]string, error) {
	return s.directory.UIDs(ctx, after, limit)
}

// RoomNames lists rooms that have members, by name, those after the given one, at most limit.
func (s *Server) RoomNames(ctx context.Context, after string, limit int) ([]string, error) {
	return s.directory.RoomNames(ctx, after, limit)
}

// Nodes lists the living nodes, this one first. With ErrPartial the list may be incomplete.
func (s *Server) Nodes(ctx context.Context) ([]NodeInfo, error) { return s.directory.Nodes(ctx) }

// Members is the number of members of a room on this node. It costs nothing; RoomCount counts on
// all nodes.
func (s *Server) Members(room string) int { return s.directory.Members(room) }
