package bus

import (
	"hash/fnv"
	"time"

	"go.uber.org/zap"
)

// Message is what one node tells the others.
type Message struct {
	Kind byte
	Key  string // chooses the shard: a room, a uid, an fd …
	Body []byte // anything; not to be changed after Send
	From string // the sending process's token

	// Both > 0: it is also kept in the history of the room Key, with at most Keep-1 others, and for Age.
	Keep int
	Age  time.Duration

	Place bool // it asks for the place in the history of the room Key behind which it comes; not with Keep

	// Of kept messages and of those that ask, given by Redis: the number in its room, from 1 without gaps as long as Epoch is the same.
	// 0 = nothing was kept so far.
	Offset int64
	Epoch  string
	At     time.Time // when it was stored, by Redis's clock, in ms

	count int64 // of the shard, at that time
}

func (m *Message) kept() bool { return m.Keep > 0 && m.Age > 0 }

func (m *Message) placed() bool { return m.Place || m.kept() }

// maxBody is one that Redis takes within any Timeout that makes sense.
const maxBody = 4 << 20

// overhead is what a message costs besides its texts.
const overhead = 200

func (m *Message) size() int { return len(m.Key) + len(m.Body) + overhead }

// Send notes a message; it never waits. From, Offset, Epoch and At are not looked at. The message is delivered on all nodes,
// on this one too.
func (b *Bus) Send(m *Message) error {
	_, err := b.send(m, nil)
	return err
}

func (b *Bus) send(m *Message, done chan error) (*item, error) {
	if len(m.Body) > maxBody {
		return nil, ErrTooLarge
	}
	if b.closed.Load() {
		return nil, ErrStopped
	}
	size := int64(m.size())
	n, bytes := b.pending.Add(1), b.bytes.Add(size)
	if n > int64(b.cfg.PendingMessages) || bytes > int64(b.cfg.PendingBytes) {
		b.release(1, size)
		return nil, ErrFull
	}
	it := b.shard(m.Key).push(m, done)
	if it == nil {
		b.release(1, size)
		return nil, ErrStopped
	}
	return it, nil
}

func (b *Bus) release(messages, bytes int64) {
	b.pending.Add(-messages)
	b.bytes.Add(-bytes)
}

func (b *Bus) shard(key string) *shard {
	h := fnv.New32a() // all nodes must agree
	_, _ = h.Write([]byte(key))
	return b.shards[h.Sum32()%uint32(len(b.shards))]
}

// deliver gives a message to the application.
func (b *Bus) deliver(m *Message) {
	b.received.Add(1)
	b.guard(func() { b.cfg.Receive(m) })
}

func (b *Bus) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			b.complaints.say("a receiver of messages between nodes panics", zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	f()
}
