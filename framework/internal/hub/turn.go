package hub

import "sync/atomic"

// turn is the right to read a connection that an event loop watches, to dispatch its messages and
// to run its close path. It has one owner or none: the loop, a goroutine, or a freeze.
//
//	             claim                        claim
//	turnIdle ───────────▶ turnOwned ───────────────────────▶ turnAgain
//	     ▲     event, Close,   │   ▲   event, Close while owned   │
//	     └────────── freeze ───┘   └──────────────────────────────┘
//	           release              release: the owner looks once more
//
// Whoever has something for the owner (bytes, a close, a broken socket) makes it visible first and
// calls claim after that. Either claim succeeds, and the caller serves; or the owner finds
// turnAgain when it releases, and looks once more. So one compare-and-swap decides, and nothing is
// lost.
//
// An owner releases after a read that has emptied the socket, since events are edge-triggered. The
// turn of a connection that has ended is never released.
//
// A claim never waits, so it is allowed under any lock.
type turn struct{ state atomic.Uint32 }

// States of a turn.
const (
	turnIdle  uint32 = iota // nobody serves, and the loop waits for bytes
	turnOwned               // somebody serves
	turnAgain               // somebody serves, and must look once more
)

// claim makes the caller the owner, or has the owner look once more.
func (t *turn) claim() bool {
	for {
		switch t.state.Load() {
		case turnIdle:
			if t.state.CompareAndSwap(turnIdle, turnOwned) {
				return true
			}
		case turnOwned:
			if t.state.CompareAndSwap(turnOwned, turnAgain) {
				return false
			}
		default:
			return false
		}
	}
}

// release ends the ownership. With false the owner keeps it and must look once more.
func (t *turn) release() bool {
	if t.state.CompareAndSwap(turnOwned, turnIdle) {
		return true
	}
	t.state.Store(turnOwned)
	return false
}
