package hub

import (
	"errors"

	"wsframe/framework/internal/room"
)

var (
	// ErrClosed is returned by sends on a connection that is closing or closed.
	ErrClosed = room.ErrClosed
	// ErrTooLarge is returned for frames that would not fit into an empty outbox. The connection
	// lives on.
	ErrTooLarge = errors.New("it is larger than limits.outbox_bytes")
	// ErrSlow is returned by the send that filled the outbox; the connection is being closed with
	// 4008.
	ErrSlow = errors.New("connection is too slow: outbox is full")
	// ErrTooManyUsers is returned by Bind on a connection that has 16 uids.
	ErrTooManyUsers = errors.New("connection is bound to too many uids")
)
