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

// Say is a user's message that awaits review. Its ID is a text of 32 characters that never repeats (contract §6); later ones sort behind earlier ones.
type Say struct {
	ID       string `json:"id"`
	Nickname string `json:"nickname"`
	Say      string `json:"say"`
}

// Pending is the review queue of each room: the Redis hash LIVE_USER_MESSAGE_{code}, id→message, 1,000 messages at most. Safe
// for concurrent use.
type Pending struct {
	redis  redis.UniversalClient
	prefix string
}

// NewPending keeps its hashes under the prefix. No room can have the name of one.
func NewPending(client redis.UniversalClient, prefix string) *Pending {
	_ = framework.Reserve(queueKey("")) // a constant that can begin a name
	return &Pending{client, prefix}
}

const (
	maxPending  = 1000                   // of one room
	callTimeout = 500 * time.Millisecond // of one Redis call
)

var errQueueFull = errors.New("review queue is full")

// addIfRoom checks and adds in one step, so that racing users cannot fill the queue beyond its limit.
const addIfRoom = `if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) return 1`

// newID needs no store that could forget or be away: the time in nanoseconds, and 64 random bits for those who say something in the same one.
func newID() string {
	b := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	b = append(b, make([]byte, 8)...)
	_, _ = rand.Read(b[8:]) // it never fails
	return hex.EncodeToString(b)
}

// Add queues a message and gives it its id.
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

// Take removes a message and returns it; nil when it is not there. Of two walls that decide at once one gets it.
func (p *Pending) Take(ctx context.Context, code, id string) (*Say, error) {
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

// Clean drops all of a room's.
func (p *Pending) Clean(ctx context.Context, code string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return p.redis.Del(ctx, p.prefix+queueKey(code)).Err()
}

// List is a part of a room's, newest first.
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
