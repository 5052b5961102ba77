package live

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework"
)

// Say is a user's message that awaits review. Its ID is a text of 32 characters that is never
// reused (contract §6); IDs sort by time.
type Say struct {
	ID       string `json:"id"`
	Nickname string `json:"nickname"`
	Say      string `json:"say"`
}

// Pending holds the review queue of each room: the Redis hash LIVE_USER_MESSAGE_{code}, id→message,
// with at most 1,000 messages. It is safe for concurrent use.
type Pending struct {
	redis  redis.UniversalClient
	prefix string
}

// NewPending makes queues whose keys begin with prefix. It reserves their names, so that no room
// can have one.
func NewPending(client redis.UniversalClient, prefix string) *Pending {
	_ = framework.Reserve(queueKey("")) // a valid constant never fails
	return &Pending{client, prefix}
}

const (
	maxPending  = 1000                   // messages in the queue of a room
	callTimeout = 500 * time.Millisecond // of one Redis call
)

var errQueueFull = errors.New("review queue is full")

// addIfRoom checks and adds in one step, so that racing users cannot fill the queue beyond its
// limit.
const addIfRoom = `if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) return 1`

// newID returns the time in nanoseconds followed by 64 random bits. No store is needed, which could
// lose a counter or be unreachable.
func newID() string {
	b := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	b = append(b, make([]byte, 8)...)
	_, _ = rand.Read(b[8:]) // never fails
	return hex.EncodeToString(b)
}

// Add puts a message into the queue, and assigns its id.
func (p *Pending) Add(ctx context.Context, code, nickname, say string) (*Say, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s := &Say{newID(), nickname, say}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	added, err := p.redis.Eval(ctx, addIfRoom, []string{p.prefix + queueKey(code)}, maxPending, s.ID, b).Int()
	if err != nil {
		return nil, fmt.Errorf("queue the message: %w", err)
	}
	if added == 0 {
		return nil, errQueueFull
	}
	return s, nil
}

// Remove removes a message and returns it, or nil if the queue does not contain it. If two walls
// decide at the same time, one of them receives the message.
func (p *Pending) Remove(ctx context.Context, code, id string) (*Say, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key := p.prefix + queueKey(code)
	b, err := p.redis.HGet(ctx, key, id).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	removed, err := p.redis.HDel(ctx, key, id).Result()
	if err != nil || removed == 0 {
		return nil, err
	}
	s := &Say{}
	return s, json.Unmarshal(b, s)
}

// Clean removes all messages of a room.
func (p *Pending) Clean(ctx context.Context, code string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return p.redis.Del(ctx, p.prefix+queueKey(code)).Err()
}

// List returns a page of a room's messages, newest first.
func (p *Pending) List(ctx context.Context, code string, offset, limit int) ([]Say, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	all, err := p.redis.HVals(ctx, p.prefix+queueKey(code)).Result()
	if err != nil {
		return nil, fmt.Errorf("read the review queue: %w", err)
	}
	list := make([]Say, 0, len(all))
	for _, text := range all {
		var s Say
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return nil, fmt.Errorf("read the review queue: %w", err)
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Say) int { return cmp.Compare(b.ID, a.ID) })
	return list[min(offset, len(list)):min(offset+limit, len(list))], nil
}
