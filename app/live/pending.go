package live

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework"
)

// Say is a user's message that awaits review.
type Say struct {
	ID       int64  `json:"id"`
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
	for _, key := range []string{queueKey(""), messageID} {
		_ = framework.Reserve(key) // a constant that can begin a name
	}
	return &Pending{client, prefix}
}

const (
	// messageID counts the messages of all rooms. No room code makes a key of that name.
	messageID = "LIVE_MESSAGE_ID"

	maxPending  = 1000                   // of one room
	callTimeout = 500 * time.Millisecond // of one Redis call
)

var errQueueFull = errors.New("review queue is full")

// addIfRoom checks and adds in one step, so that racing users cannot fill the queue beyond its limit.
const addIfRoom = `if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) return 1`

// Add queues a message and gives it its id.
func (p *Pending) Add(ctx context.Context, code, nickname, say string) (*Say, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	id, err := p.redis.Incr(ctx, p.prefix+messageID).Result()
	if err != nil {
		return nil, fmt.Errorf("number the message: %w", err)
	}
	s := &Say{id, nickname, say}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	added, err := p.redis.Eval(ctx, addIfRoom, []string{p.prefix + queueKey(code)}, maxPending, id, b).Int()
	if err != nil {
		return nil, fmt.Errorf("queue the message: %w", err)
	}
	if added == 0 {
		return nil, errQueueFull
	}
	return s, nil
}

// Take removes a message and returns it; nil when it is not there. Of two walls that decide at once one gets it.
func (p *Pending) Take(ctx context.Context, code string, id int64) (*Say, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, field := p.prefix+queueKey(code), strconv.FormatInt(id, 10)
	b, err := p.redis.HGet(ctx, key, field).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	removed, err := p.redis.HDel(ctx, key, field).Result()
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
