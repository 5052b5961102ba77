package bus

import (
	"hash/fnv"
	"time"
)

// Message is what one node tells the others.
type Message struct {
	Kind byte
	Key  string // chooses the shard: a room, a uid, an fd …
	Body []byte // anything; it must not change after Send
	From string // the sending process's token

	Keep int           // > 0, with Age: the room Key's history keeps it, with at most Keep-1 others
	Age  time.Duration // for how long it is kept, with Keep

	Place bool // asks for the offset in the room Key's history after which it comes; not with Keep

	// Room means that Key is a room, and that only nodes with an interest in it need the message.
	Room bool

	// Offset is given by Redis to messages that are kept or ask for it: a message's number in its
	// room, from 1 without gaps as long as Epoch is the same. 0 = nothing was kept so far.
	Offset int64
	Epoch  string    // of the room; with Offset
	At     time.Time // when it was stored, by Redis's clock, in ms; with Offset

	count int64 // of the shard, at that time
}

func (m *Message) kept() bool { return m.Keep > 0 && m.Age > 0 }

func (m *Message) placed() bool { return m.Place || m.kept() }

// maxBody bounds a body, so that Redis accepts it within any sensible Config.Timeout.
const maxBody = 4 << 20

// overhead is about how many bytes a message costs besides its texts.
const overhead = 200

func (m *Message) size() int { return len(m.Key) + len(m.Body) + overhead }

// shardOf chooses the shard of a key. All nodes must agree.
func shardOf(key string, shards int) int { return int(hash(key) % uint32(shards)) }

// laneOf chooses the sub-stream of a room, from 1 on. All nodes must agree.
func laneOf(room string, shards, lanes int) int {
	return 1 + int(hash(room)/uint32(shards)%uint32(lanes))
}

func hash(key string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return h.Sum32()
}
