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

// Who is in a room whose members hear of it stands in the room's hash: id → how he came, a ticket
// that only this coming has, and his nickname. How he came is + for the first one, - for one who
// was there, ! while his leaving is told.
//
// Who may have left stands in one sorted set of all nodes, by the time at which somebody is to
// look: whichever node comes first. It claims what is due by moving that time, so that another one
// goes on where it dies. No command touches two keys: a room's hash may be anywhere in a Redis
// Cluster.

const (
	lookAtOnce = 64 // departures of one Depart
	lookTime   = 8  // timeouts until another node may look

	// announceTime is how long after it is due a departure is told at last, while all nodes answer.
	announceTime = 2 * time.Second
)

// All times are Redis's own: the nodes' clocks may differ.
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

	// A leaving is written beside a full Redis, too: what tells of the connection goes after it.
	// See client.go.
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

// Presence is who is in rooms whose members hear of it.
type Presence struct {
	c       *client
	life    *life
	journal *journal
	away    time.Duration // how long a user may be away before Depart looks at it; 0 = nobody is told
}

// Came notes users who have come, once Redis knows that their connections are in these rooms. It
// tells for each whether he was not there before; asked again after an error it gives the same
// answer, by the tickets.
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

// Leaving notes that a user may have left a room, for Depart of any node after Config.Away. notified
// = the room's members were notified of his coming, whatever has become of Redis since.
func (pr *Presence) Leaving(p Present, notified bool) {
	if notified {
		p.value = p.asserted()
	}
	pr.journal.append(op{kind: opLeaving, present: &p})
}

// write writes departures. The users are written first where Redis may have forgotten them.
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

// recordDepartures notes the departures of connections before what tells of them is removed: found
// is what Redis knows of each, is gives what is left of it, nil = nothing.
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
	list, err := pr.knownPresent(ctx, names) // most places are no rooms that tell
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

// Depart looks at departures whose time has come: here tells who of them is in his room by another
// connection, and tell is called for the others. Of all nodes one is at it; what it does not finish
// is looked at again. It tells twice only where its process, or Redis, goes away between that and
// its note of it, or Redis is emptied soon after it. more = there may be others.
func (pr *Presence) Depart(ctx context.Context, here func(context.Context, []Present) ([]bool, error), tell func(Present)) (more bool, err error) {
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
		if err := pr.depart(ctx, list, here, tell); err != nil {
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

func (pr *Presence) depart(ctx context.Context, list []Present, here func(context.Context, []Present) ([]bool, error), tell func(Present)) error {
	stays, err := here(ctx, list)
	if err != nil {
		return fmt.Errorf("look who is there: %w", err)
	}
	// Who comes from here on has another value.
	list = keep(list, func(i int) bool { return !stays[i] })
	left, err := pr.inRooms(ctx, beginLeave, list)
	if err != nil {
		return fmt.Errorf("note who has left: %w", err)
	}
	list = keep(list, func(i int) bool { return left[i] })
	for _, p := range list {
		tell(p)
	}
	if _, err = pr.inRooms(ctx, endLeave, list); err != nil {
		return fmt.Errorf("remove who has left: %w", err)
	}
	return nil
}

// knownPresent gives those of the departures whose users stand in their rooms' hashes.
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

// inRooms runs a script on the hashes of those users' rooms. It gives what it answered for each;
// false where Redis refuses it.
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
