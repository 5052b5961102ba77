package framework

import (
	"errors"

	"wsframe/framework/bus"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/publish"
	"wsframe/framework/internal/room"
	"wsframe/framework/internal/session"
)

var (
	// ErrName is returned for room names and close keys that cannot be Redis keys of ours.
	ErrName = names.ErrRoom
	// ErrReserved is returned for room names and close keys with a reserved prefix: WEBSOCKET_,
	// WSFRAME, and those of Reserve.
	ErrReserved = names.ErrReserved
	// ErrUID is returned for uids that nobody can have.
	ErrUID = names.ErrUID
	// ErrTooManyKeys is returned when a connection has as many close keys or listeners as it may
	// have.
	ErrTooManyKeys = session.ErrTooManyKeys
	// ErrSessionSize is returned when a session's values would take more than 16 KiB as JSON.
	ErrSessionSize = session.ErrSize

	// ErrNoConnection is returned where no node has the connection.
	ErrNoConnection = ask.ErrNoConnection
	// ErrPartial is returned beside what is known when some nodes have not answered in time, or
	// Redis, which carries the question, has not.
	ErrPartial = ask.ErrPartial

	// ErrClosed is returned for a connection of this node that has ended.
	ErrClosed = hub.ErrClosed
	// ErrSlow is returned for a connection of this node that is being closed with 4008.
	ErrSlow = hub.ErrSlow
	// ErrTooManyRooms is returned when a connection is in as many rooms as it may be
	// (limits.rooms_per_connection).
	ErrTooManyRooms = room.ErrTooManyRooms
	// ErrTooManyUsers is returned when a connection has as many uids as it may have.
	ErrTooManyUsers = hub.ErrTooManyUsers

	// ErrBusy is returned when too much waits for Redis.
	ErrBusy = bus.ErrFull
	// ErrTooLarge is returned for a push that, encoded, exceeds limits.outbox_bytes.
	ErrTooLarge = hub.ErrTooLarge
	// ErrUnavailable is returned for a push that no other node could get: this one has not reached
	// Redis for the time of a lease.
	ErrUnavailable = publish.ErrUnavailable

	// ErrNotTaken is returned for a push with Durable that will not be delivered.
	ErrNotTaken = bus.ErrNotTaken
	// ErrUnknown is returned for a push with Durable that may still be delivered.
	ErrUnknown = bus.ErrUnknown
	// ErrQueued is returned for a push with Durable that this node's connections have, and that
	// waits for Redis to reach others.
	ErrQueued = bus.ErrQueued
)

var errCode = errors.New("close codes are 1000 or 3000-4999, reasons at most 123 bytes")

// errorCodes are the errors that a caller on another node can distinguish. The codes travel between
// nodes.
var errorCodes = map[string]error{
	"name": ErrName, "reserved": ErrReserved, "uid": ErrUID, "tooManyKeys": ErrTooManyKeys, "sessionSize": ErrSessionSize,
	"tooManyRooms": ErrTooManyRooms, "tooManyUsers": ErrTooManyUsers, "closed": ErrClosed, "slow": ErrSlow, "partial": ErrPartial,
}
