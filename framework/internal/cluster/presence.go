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

// Who is in a room whose members hear of it stands in the room's hash: id → how he came, a ticket that only this coming has, and
// his nickname. How he came is + for the first one, - for one who was there, ! while his leaving is told.
//
// Who may have left stands in one sorted set of all nodes, by the time at which somebody is to look: whichever node comes first. It
// claims what is due by moving that time, so that another one goes on where it dies. No command touches two keys: a room's hash may
// be anywhere in a Redis Cluster.

const (
	lookAtOnce = 64 // departures of one Depart
	lookTime   = 8  // timeouts until another node may look

	// toldTime is how long after it is due a departure is told at last, while all nodes answer.
	toldTime = 2 * time.Second
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

	// A leaving is written beside a full Redis, too: what tells of the connection goes after it. See lease.go.
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

// Present is a user in a room whose members hear of him.
type Present struct {
	Room     string `json:"r"`
	ID       string `json:"u"`
	Nickname string `json:"-"`
	Ticket   string `json:"-"` // of a coming that is not told yet

	value string // in Redis
}

// asserted is what stands in the hash of who came long ago.
func (p *Present) asserted() string { return "+ " + p.Nickname }

// leaving is the name of a departure. A room's name has no space.
func leaving(room, id string) string { return room + " " + id }

// Came notes users who have come, once Redis knows that their connections are in these rooms. It tells for each whether he was not
// there before; asked again after an error it gives the same answer, by the tickets.
func (n *Node) Came(ctx context.Context, list []Present) ([]bool, error) {
	if err := n.Flush(ctx); err != nil {
		return nil, err
	}
	for i := range list {
		list[i].value = list[i].Ticket + " " + list[i].Nickname
	}
	fresh, err := n.inRooms(ctx, noteComing, list)
	if err != nil {
		return nil, fmt.Errorf("note %d users who came: %w", len(list), err)
	}
	return fresh, nil
}

// Leaving notes that a user may have left, to be looked at by Depart of any node after Config.Away. told = the room's members know
// that he is there, whatever has become of Redis since.
func (n *Node) Leaving(p Present, told bool) {
	if told {
		p.value = p.asserted()
	}
	n.j.append(op{kind: opLeaving, present: &p})
}

// writeLeaving writes departures. The users are written first where Redis may have forgotten them.
func (n *Node) writeLeaving(ctx context.Context, p *plan, list []*Present) {
	names := make([]string, len(list))
	for i, left := range list {
		if names[i] = leaving(left.Room, left.ID); left.value != "" {
			p.list.Eval(ctx, noteAgain, []string{n.keys.present(left.Room)}, left.ID, left.value)
		}
	}
	n.addLeaving(ctx, p.note, names)
}

func (n *Node) addLeaving(ctx context.Context, p redis.Pipeliner, names []string) {
	if len(names) > 0 {
		p.Eval(ctx, noteLeaving, []string{n.keys.leaving()}, args(n.cfg.Away.Milliseconds(), names)...)
	}
}

// departed is a departure that Redis has, and that may not have been told yet.
type departed struct {
	present *Present
	at      time.Time
}

// remember keeps departures that were written, since nothing tells of them any more where Redis is emptied before they are told.
func (n *Node) remember(ops []op) {
	if !n.leased() {
		return // nobody empties a store that is the server's own
	}
	n.forgetTold()
	now := n.cfg.Now()
	for i := range ops {
		if p := ops[i].present; p != nil && p.value != "" {
			n.departed = append(n.departed, departed{p, now})
		}
	}
	if over := len(n.departed) - n.cfg.Journal; over > 0 {
		n.departed = slices.Delete(n.departed, 0, over)
	}
}

// forgetTold forgets the departures that were told before Redis was emptied.
func (n *Node) forgetTold() {
	n.peersMu.Lock()
	told := n.intact.Add(-n.cfg.Away - toldTime)
	n.peersMu.Unlock()
	i := slices.IndexFunc(n.departed, func(d departed) bool { return d.at.After(told) })
	if i < 0 {
		n.departed = nil
	}
	n.departed = slices.Delete(n.departed, 0, max(i, 0))
}

// leaveAgain writes into a Redis that was emptied who has left. Some may have been told just before that: they are told again, and so
// is the coming of who is back meanwhile.
func (n *Node) leaveAgain(ctx context.Context) error {
	for part := range slices.Chunk(n.departed, pipeline/2) {
		list := make([]*Present, len(part))
		for i := range part {
			p := *part[i].present
			p.value = "! " + p.Nickname
			list[i], part[i].at = &p, n.cfg.Now()
		}
		err := n.write(ctx, func(ctx context.Context, p *plan) { n.writeLeaving(ctx, p, list) })
		if err != nil {
			return fmt.Errorf("note %d departures again: %w", len(n.departed), err)
		}
	}
	return nil
}

func args(first any, names []string) []any {
	list := make([]any, 1, len(names)+1)
	list[0] = first
	for _, name := range names {
		list = append(list, name)
	}
	return list
}

// lose notes the departures of connections before what tells of them is removed: found is what Redis knows of each, is gives what
// is left of it, nil = nothing.
func (n *Node) lose(ctx context.Context, found []Entry, is func(fd int64) *Entry) error {
	if n.cfg.Away == 0 {
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
	list, err := n.knownPresent(ctx, names) // most places are no rooms that tell
	if err != nil || len(list) == 0 {
		return err
	}
	names = names[:0]
	for _, p := range list {
		names = append(names, leaving(p.Room, p.ID))
	}
	err = n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) { n.addLeaving(ctx, p, names) })
	if err != nil {
		return fmt.Errorf("note %d departures: %w", len(names), err)
	}
	return nil
}

// Depart looks at departures whose time has come: here tells who of them is in his room by another connection, and tell is called
// for the others. Of all nodes one is at it; what it does not finish is looked at again. It tells twice only where its process, or
// Redis, goes away between that and its note of it, or Redis is emptied soon after it. more = there may be others.
func (n *Node) Depart(ctx context.Context, here func(context.Context, []Present) ([]bool, error), tell func(Present)) (more bool, err error) {
	due, err := call(n, ctx, func(ctx context.Context) ([]string, error) {
		return n.cfg.Client.Eval(ctx, claimLeaving, []string{n.keys.leaving()}, lookTime*n.cfg.Timeout.Milliseconds(), lookAtOnce).StringSlice()
	})
	if err != nil {
		return false, fmt.Errorf("claim departures: %w", err)
	}
	if len(due) < 2 {
		return false, nil
	}
	claim, due := due[0], due[1:]
	list, err := n.knownPresent(ctx, due)
	if err != nil {
		return false, err
	}
	if len(list) > 0 {
		if err := n.depart(ctx, list, here, tell); err != nil {
			return false, err
		}
	}
	err = n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		p.Eval(ctx, endClaims, []string{n.keys.leaving()}, args(claim, due)...)
	})
	if err != nil {
		return false, fmt.Errorf("end the claim of departures: %w", err)
	}
	return len(due) == lookAtOnce, nil
}

func (n *Node) depart(ctx context.Context, list []Present, here func(context.Context, []Present) ([]bool, error), tell func(Present)) error {
	stays, err := here(ctx, list)
	if err != nil {
		return fmt.Errorf("look who is there: %w", err)
	}
	// Who comes from here on has another value.
	list = keep(list, func(i int) bool { return !stays[i] })
	left, err := n.inRooms(ctx, beginLeave, list)
	if err != nil {
		return fmt.Errorf("note who has left: %w", err)
	}
	list = keep(list, func(i int) bool { return left[i] })
	for _, p := range list {
		tell(p)
	}
	if _, err = n.inRooms(ctx, endLeave, list); err != nil {
		return fmt.Errorf("remove who has left: %w", err)
	}
	return nil
}

// knownPresent gives those of the departures whose users stand in their rooms' hashes.
func (n *Node) knownPresent(ctx context.Context, due []string) ([]Present, error) {
	if len(due) == 0 {
		return nil, nil
	}
	values := make([]*redis.StringCmd, len(due))
	err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, name := range due {
			room, id, _ := strings.Cut(name, " ")
			values[i] = p.HGet(ctx, n.keys.present(room), id)
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

// inRooms runs a script on the hashes of those users' rooms. It gives what it answered for each; false where Redis refuses it.
func (n *Node) inRooms(ctx context.Context, script string, list []Present) ([]bool, error) {
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
	err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for k, room := range rooms {
			var argv []any
			for _, i := range at[room] {
				argv = append(argv, list[i].ID, list[i].value)
			}
			cmds[k] = p.Eval(ctx, script, []string{n.keys.present(room)}, argv...)
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

// assertPresent writes a live connection's user where Redis has forgotten him. Nobody is told of it.
func (n *Node) assertPresent(ctx context.Context, p redis.Pipeliner, list []Present) {
	for i := range list {
		p.HSetNX(ctx, n.keys.present(list[i].Room), list[i].ID, list[i].asserted())
	}
}
