package push

import (
	"context"
	"errors"
	"time"
)

// onceTime is how long an Idempotency-Key is known, from its first request on.
const onceTime = 10 * time.Minute

// ErrStoreFull is the error of a Store that has no memory left.
var ErrStoreFull = errors.New("push: the store has no memory")

// Store is a memory that all nodes share. Its values expire. It is safe for concurrent use.
type Store interface {
	// Claim keeps value under key where there is none, and otherwise returns the value that is
	// there. It may fail with ErrStoreFull.
	Claim(ctx context.Context, key string, value []byte, age time.Duration) (there []byte, err error)
	// Put keeps value under key, in place of any other.
	Put(ctx context.Context, key string, value []byte, age time.Duration) error
	// Remove deletes key while it holds value.
	Remove(ctx context.Context, key string, value []byte) error
	// Durable returns when earlier writes survive the death of the store, as far as the store can
	// promise that.
	Durable(ctx context.Context) error
}
