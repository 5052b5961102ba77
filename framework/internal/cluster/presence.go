package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// A room that announces its members has a hash of its users: id → state, ticket and nickname. The
// state is + for a user who was new, - for one who had another connection, and ! while his leaving
// is being announced. The ticket identifies one coming.
//
// One sorted set of all nodes contains the users who may have left, by the time at which a node
// looks. The first node that does claims the due ones by moving that time, so another node
// continues if it dies. No command touches two keys, since the rooms' hashes may be anywhere in a
// Redis Cluster.

const (
	lookAtOnce = 64 // departures of one Depart
	lookTime   = 8  // timeouts until another node may look

	// announceTime is the longest time from a due departure to its announcement, while all nodes
	// answer.
	announceTime = 2 * time.Second
)

// All times are those of Redis, since the nodes' clocks may differ.
const (
	noteComing = `
local fresh = {}
for i = 1, #ARGV, 2 do
	local old = redis.call('HGET', KEYS[1], ARGV[i]) or '!'
	local how = string.sub(old, 1, 1)
	if string.sub(old, 2) ~= ARGV[i+1] or how == '!' then
		how = how == '!' and '+' or '-'
		redis.call('HSET', KEYS[1], ARGV[i], how .. ARGV[i+1])
	end
	fresh[#fresh+1] = how == '+' and 1 or 0
end
return fresh`

	// noteLeaving also runs without memory (see client.go), since the connection's keys are removed
	// after it.
	noteLeaving = `
redis.call('ZREM', KEYS[1], '')
local t = redis.call('TIME')
local due = string.format('%.0f', t[1] * 1000 + t[2] / 1000 + ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], due, ARGV[i]) end
return 0`

	noteAgain = `
redis.call('HDEL', KEYS[1], '')
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])`

	claimLeaving = `
redis.call('ZREM', KEYS[1], '')
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local claim = string.format('%.0f', now + ARGV[1])
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[2])
for i = 1, #due do redis.call('ZADD', KEYS[1], claim, due[i]) end
table.insert(due, 1, claim)
return due`

	beginLeave = `
redis.call('HDEL', KEYS[1], '')
local mine = {}
for i = 1, #ARGV, 2 do
	mine[#mine+1] = 0
	if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i+1] then
		redis.call('HSET', KEYS[1], ARGV[i], '!' .. string.sub(ARGV[i+1], 2))
		mine[#mine] = 1
	end
end
return mine`

	endLeave = `
for i = 1, #ARGV, 2 do
	if redis.call('HGET', KEYS[1], ARGV[i]) == '!' .. string.sub(ARGV[i+1], 2) then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 0`

	endClaims = `
for i = 2, #ARGV do
	local at = redis.call('ZSCORE', KEYS[1], ARGV[i])
	if at and tonumber(at) == tonumber(ARGV[1]) then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
return 0`
)

// Presence records who is in rooms that announce their members.
type Presence struct {
	c       *client
	life    *life
	journal *journal
	away    time.Duration // Config.Away
}

// Came notes users who have come into rooms, after Redis knows that their connections are there.
// The result has a flag for each: he was not in the room. A repetition after an error gives the
// same flags, by the tickets.
func (pr *Presence) Came(ctx context.Context, list []Present) ([]bool, error) {
	if err := pr.journal.flush(ctx, pr.life.ctx.Done()); err != nil {
		return nil, err
	}
	for i := range list {
		list[i].value = list[i].Ticket + " " + list[i].Nickname
	}
	fresh, err := pr.inRooms(ctx, noteComing, list)
	if err != nil {
		return nil, fmt.Errorf("note %d users who came: %w", len(list), err)
	}
	return fresh, nil
}

// Leaving notes that a user may have left a room, for Depart of any node after Config.Away.
// notified tells that his coming was announced, which Redis may have lost.
func (pr *Presence) Leaving(p Present, notified bool) {
	if notified {
		p.value = p.asserted()
	}
	pr.journal.append(op{kind: opLeaving, present: &p})
}

// write writes departures. Users that Redis may have lost are written first.
func (pr *Presence) write(ctx context.Context, p *plan, list []*Present) {
	names := make([]string, len(list))
	for i, left := range list {
		if names[i] = leaving(left.Room, left.ID); left.value != "" {
			p.list.Eval(ctx, noteAgain, []string{pr.c.keys.present(left.Room)}, left.ID, left.value)
		}
	}
	pr.add(ctx, p.note, names)
}

func (pr *Presence) add(ctx context.Context, p redis.Pipeliner, names []string) {
	if len(names) > 0 {
		p.Eval(ctx, noteLeaving, []string{pr.c.keys.leaving()}, args(pr.away.Milliseconds(), names)...)
	}
}

func args(first any, names []string) []any {
	list := make([]any, 1, len(names)+1)
	list[0] = first
	for _, name := range names {
		list = append(list, name)
	}
	return list
}

// recordDepartures notes the departures of connections before their keys are removed. found is the
// state of each in Redis, is returns the state that remains; nil = none.
func (pr *Presence) recordDepartures(ctx context.Context, found []Entry, is func(fd int64) *Entry) error {
	if pr.away == 0 {
		return nil
	}
	var names []string
	for i := range found {
		f := &found[i]
		e := is(f.FD)
		var id struct{ ID string }
		if json.Unmarshal(f.Auth, &id) != nil || id.ID == "" {
			continue
		}
		for _, key := range f.Keys {
			if e == nil || !slices.Contains(e.Keys, key) {
				names = append(names, leaving(key, id.ID))
			}
		}
	}
	list, err := pr.knownPresent(ctx, names) // most sets are not those of announcing rooms
	if err != nil || len(list) == 0 {
		return err
	}
	names = names[:0]
	for _, p := range list {
		names = append(names, leaving(p.Room, p.ID))
	}
	err = pr.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) { pr.add(ctx, p, names) })
	if err != nil {
		return fmt.Errorf("note %d departures: %w", len(names), err)
	}
	return nil
}

// Depart looks at due departures. here reports which of the users have another connection in the
// room; announce is called for the others. more reports that further ones may be due.
//
// Each departure is claimed by one node at a time, and looked at again if that node does not
// finish. It is announced twice only when the process or Redis fails between the announcement and
// its note, or when Redis is emptied soon after.
func (pr *Presence) Depart(ctx context.Context, here func(context.Context, []Present) ([]bool, error), announce func(Present)) (more bool, err error) {
	due, err := call(pr.c, ctx, func(ctx context.Context) ([]string, error) {
		return pr.c.redis.Eval(ctx, claimLeaving, []string{pr.c.keys.leaving()}, lookTime*pr.c.timeout.Milliseconds(), lookAtOnce).StringSlice()
	})
	if err != nil {
		return false, fmt.Errorf("claim departures: %w", err)
	}
	if len(due) < 2 {
		return false, nil
	}
	claim, due := due[0], due[1:]
	list, err := pr.knownPresent(ctx, due)
	if err != nil {
		return false, err
	}
	if len(list) > 0 {
		if err := pr.depart(ctx, list, here, announce); err != nil {
			return false, err
		}
	}
	err = pr.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		p.Eval(ctx, endClaims, []string{pr.c.keys.leaving()}, args(claim, due)...)
	})
	if err != nil {
		return false, fmt.Errorf("end the claim of departures: %w", err)
	}
	return len(due) == lookAtOnce, nil
}

func (pr *Presence) depart(ctx context.Context, list []Present, here func(context.Context, []Present) ([]bool, error), announce func(Present)) error {
	stays, err := here(ctx, list)
	if err != nil {
		return fmt.Errorf("look who is there: %w", err)
	}
	// A user who comes from here on has another value.
	list = keep(list, func(i int) bool { return !stays[i] })
	left, err := pr.inRooms(ctx, beginLeave, list)
	if err != nil {
		return fmt.Errorf("note who has left: %w", err)
	}
	list = keep(list, func(i int) bool { return left[i] })
	for _, p := range list {
		announce(p)
	}
	if _, err = pr.inRooms(ctx, endLeave, list); err != nil {
		return fmt.Errorf("remove who has left: %w", err)
	}
	return nil
}

// knownPresent returns the departures whose users are in their rooms' hashes.
func (pr *Presence) knownPresent(ctx context.Context, due []string) ([]Present, error) {
	if len(due) == 0 {
		return nil, nil
	}
	values := make([]*redis.StringCmd, len(due))
	err := pr.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, name := range due {
			room, id, _ := strings.Cut(name, " ")
			values[i] = p.HGet(ctx, pr.c.keys.present(room), id)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read who is in %d rooms: %w", len(due), err)
	}
	var list []Present
	for i, name := range due {
		if value := values[i].Val(); value != "" {
			p := Present{value: value}
			p.Room, p.ID, _ = strings.Cut(name, " ")
			_, p.Nickname, _ = strings.Cut(value, " ")
			list = append(list, p)
		}
	}
	return list, nil
}

// inRooms runs a script on the hashes of the users' rooms. The result has its answer for each user,
// false where Redis refused the script.
func (pr *Presence) inRooms(ctx context.Context, script string, list []Present) ([]bool, error) {
	if len(list) == 0 {
		return nil, nil
	}
	var rooms []string
	at := map[string][]int{}
	for i := range list {
		room := list[i].Room
		if at[room] == nil {
			rooms = append(rooms, room)
		}
		at[room] = append(at[room], i)
	}
	cmds := make([]*redis.Cmd, len(rooms))
	err := pr.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for k, room := range rooms {
			var argv []any
			for _, i := range at[room] {
				argv = append(argv, list[i].ID, list[i].value)
			}
			cmds[k] = p.Eval(ctx, script, []string{pr.c.keys.present(room)}, argv...)
		}
	})
	if err != nil {
		return nil, err
	}
	answers := make([]bool, len(list))
	for k, room := range rooms {
		numbers, _ := cmds[k].Int64Slice() // none where it was refused
		for j, i := range at[room] {
			answers[i] = j < len(numbers) && numbers[j] == 1
		}
	}
	return answers, nil
}

func keep(list []Present, ok func(i int) bool) []Present {
	var kept []Present
	for i, p := range list {
		if ok(i) {
			kept = append(kept, p)
		}
	}
	return kept
}
