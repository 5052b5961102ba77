// Package stream sends long answers to clients in numbered parts: the tokens of a language model,
// or the progress of a job.
//
// A producer of the application writes parts into a Writer, in a goroutine of its own. The home of
// a stream has all of its text and sends each client what it lacks, several parts at once where the
// client is slow. A client that comes late, or again, names the last part that it has.
//
//	Writer ──▶ home ──▶ clients            in one worker
//	Writer ──▶ pipe ──▶ home ──▶ clients   after a reload: the producer stays in its worker
//
// A reload moves the homes to the next worker (Export, Import), together with the pipes from the
// producers of earlier workers. So the parts of a producer take one step, whatever the number of
// reloads, and a worker whose producers still write needs nothing of the workers between.
//
// Package framework makes one Streams for a worker, and package reload moves it. Everything is
// bounded: the text of a stream and of all, the streams of a connection, what waits in a pipe.
package stream

import (
	"errors"
	"time"

	"go.uber.org/zap"
)

// Bounds of a worker's streams.
const (
	MaxText  = 1 << 20  // bytes of text of one stream
	MaxTotal = 64 << 20 // bytes of text of all streams that are kept
	MaxOpen  = 8        // streams of one connection that have not ended

	maxPart  = 32 << 10  // bytes of a part; a longer text is several parts
	maxFrame = 128 << 10 // about the text in one frame; in JSON it may be six times as long
	maxQueue = 1 << 20   // bytes that wait in a pipe before its producers wait
	behind   = 64 << 10  // bytes in the outbox of a client with which it counts as slow

	retry    = 20 * time.Millisecond // until a slow client is looked at again
	around   = time.Second           // between two looks at who is still there
	askEvery = 5 * time.Second       // between two questions whether clients that are not here live
	linger   = 30 * time.Second      // for a client to come again before the producer is cancelled
	keep     = time.Minute           // for which a stream can be read after its end
)

var (
	// ErrTooMany is returned for one more stream of a connection, or where the streams of this
	// worker have as much text as they may have.
	ErrTooMany = errors.New("too many streams")
	// ErrTooLarge is returned to a producer whose stream has more text than it may have.
	ErrTooLarge = errors.New("the stream is too long")
	// ErrCancelled is the cause of a Writer's end where the client has cancelled the stream.
	ErrCancelled = errors.New("the client has cancelled the stream")
	// ErrLeft is the cause of a Writer's end where no client reads the stream any more.
	ErrLeft = errors.New("no client reads the stream")
	// ErrDrained is the cause of a Writer's end where its worker may not live longer.
	ErrDrained = errors.New("the worker of the stream ends")
)

// Reasons for the end of a stream, as clients get them.
const (
	Done      = "done"
	Cancelled = "cancelled"
	Failed    = "failed"
	Left      = "left"
	Drained   = "drained"  // the producer's worker may not live longer
	TooLarge  = "tooLarge" // the stream has more text than it may have
	Lost      = "lost"     // the producer's worker has died
)

// Part is the param of a frame with text.
type Part struct {
	Stream string `json:"stream"`
	Part   int    `json:"part"` // number of the last part in Text
	Text   string `json:"text"` // of all parts behind the one that the client had
}

// End is the param of the last frame of a stream.
type End struct {
	Stream string `json:"stream"`
	Part   int    `json:"part"` // number of the last part
	Reason string `json:"reason"`
}

// Config of Streams.
type Config struct {
	// Send sends a Part or an End to a connection of any node. It does not wait. After an error the
	// connection gets nothing more.
	Send func(fd int64, param any) error
	// Waiting returns how many bytes wait for a connection; here is false where this worker does
	// not have it.
	Waiting func(fd int64) (bytes int, here bool)
	// Alive reports whether a connection that is not here is on another node, which it may ask.
	Alive func(fd int64) bool
	// Protect runs f, and logs a panic of it.
	Protect func(what string, f func())
	Log     *zap.Logger
}
