package hub

import (
	"errors"

	"wsframe/framework/internal/room"
)

var (
	// ErrClosed is returned by sends on a connection that is closing or closed.
	ErrClosed = room.ErrClosed
	// ErrTooLarge is returned for what would not fit into an empty outbox, with its frame header. Nothing happens to the connection.
	ErrTooLarge = errors.New("it is larger than limits.outbox_bytes")
	// ErrSlow is returned by the send that filled the outbox; the connection is being closed with 4008.
	ErrSlow = errors.New("connection is too slow: outbox is full")
	// ErrTooManyUsers is returned by Bind on a connection that has as many uids as it may have.
	ErrTooManyUsers = errors.New("connection is bound to too many uids")
)
