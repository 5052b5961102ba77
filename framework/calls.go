package framework

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"wsframe/framework/api"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/wire"
)

// What follows reaches connections wherever they are. For one of this node it costs nothing; otherwise one write to Redis and an
// answer from every node, waited for at most as long as a Redis call may take (cache.master.timeout). ErrPartial tells that a
// node has not answered: what it was asked for may still happen. While Redis is away it comes at once, beside what this node knows.

// maxPage is the longest page of a list.
const maxPage = 1000

var (
	errLimit = fmt.Errorf("limit must be between 1 and %d", maxPage)
	errCode  = errors.New("close codes are 1000 or 3000-4999, reasons at most 123 bytes")
)

// onFD asks the node that has the connection.
func (s *Sender) onFD(ctx context.Context, q query) (r reply, err error) {
	err = s.app.ask(ctx, strconv.FormatInt(q.FD, 10), q, func(answer reply) bool {
		if answer.Found {
			r = answer
		}
		return answer.Found
	})
	switch {
	case r.Found && r.Error != "":
		return r, remoteError(r.Error)
	case r.Found:
		return r, nil
	case err == nil:
		err = ErrNoConnection
	}
	return r, fmt.Errorf("connection %d: %w", q.FD, err)
}

// sum asks all nodes and adds what they count.
func (s *Sender) sum(ctx context.Context, key string, q query) (n int, err error) {
	err = s.app.ask(ctx, key, q, func(r reply) bool { n += r.N; return false })
	return n, err
}

// Join puts a connection into a room; see Ctx.Join.
func (s *Sender) Join(ctx context.Context, fd int64, room string, o ...JoinOption) error {
	if err := names.Room(room); err != nil {
		return err
	}
	j := joinOptions(o)
	_, err := s.onFD(ctx, query{Op: "join", FD: fd, Room: room, Flag: j.announce, Kept: j.kept})
	return err
}

// Leave takes a connection out of a room, at once: it does not get what is still on its way to the room. Being in it is no condition.
func (s *Sender) Leave(ctx context.Context, fd int64, room string) error {
	if err := names.Room(room); err != nil {
		return err
	}
	_, err := s.onFD(ctx, query{Op: "leave", FD: fd, Room: room})
	return err
}

// LeaveAll takes a connection out of all its rooms, as Leave does.
func (s *Sender) LeaveAll(ctx context.Context, fd int64) error {
	_, err := s.onFD(ctx, query{Op: "leaveAll", FD: fd})
	return err
}

// DismissRoom takes all members out of a room and counts them. They get first what was sent to them, or to the room, before by the same
// caller; where that does not come, Redis being slow, it is waited for as long as a Redis call may take.
func (s *Sender) DismissRoom(ctx context.Context, room string) (int, error) {
	if err := names.Room(room); err != nil {
		return 0, err
	}
	return s.sum(ctx, room, query{Op: "dismiss", Room: room})
}

// BindUID has a connection reached by a uid; a token of a type in users.uid_types binds its id by itself.
func (s *Sender) BindUID(ctx context.Context, fd int64, uid string) error {
	if err := names.UID(uid); err != nil {
		return err
	}
	_, err := s.onFD(ctx, query{Op: "bind", FD: fd, UID: uid})
	return err
}

// UnbindUID undoes BindUID.
func (s *Sender) UnbindUID(ctx context.Context, fd int64, uid string) error {
	if err := names.UID(uid); err != nil {
		return err
	}
	_, err := s.onFD(ctx, query{Op: "unbind", FD: fd, UID: uid})
	return err
}

// Session is what was kept with a connection by SetSession and UpdateSession.
func (s *Sender) Session(ctx context.Context, fd int64) (map[string]json.RawMessage, error) {
	r, err := s.onFD(ctx, query{Op: "session", FD: fd})
	if err != nil {
		return nil, err
	}
	var values map[string]json.RawMessage
	return values, json.Unmarshal(r.Data, &values)
}

// SetSession replaces a connection's session values; they live as long as the connection, through reloads.
func (s *Sender) SetSession(ctx context.Context, fd int64, values map[string]any) error {
	return s.changeSession(ctx, fd, values, false)
}

// UpdateSession merges values into a connection's session; nil removes a key.
func (s *Sender) UpdateSession(ctx context.Context, fd int64, values map[string]any) error {
	return s.changeSession(ctx, fd, values, true)
}

func (s *Sender) changeSession(ctx context.Context, fd int64, values map[string]any, merge bool) error {
	raw, err := encodeValues(values)
	if err != nil {
		return err
	}
	if sizeOf(raw) > maxSession {
		return ErrSessionSize
	}
	_, err = s.onFD(ctx, query{Op: "setSession", FD: fd, Values: raw, Flag: merge})
	return err
}

func checkClose(code *int, reason string) error {
	if *code == 0 {
		*code = CloseKicked
	}
	if !wire.MayClose(*code) || len(reason) > wire.MaxReason {
		return fmt.Errorf("%d: %w", *code, errCode)
	}
	return nil
}

// Kick closes a connection behind what was sent to it before by the same caller, in whatever way, and what is queued for it. It does not
// wait for that, nor does the close wait longer than a Redis call may take. Codes are 1000 or 3000-4999, 0 = 4011; a reason has at most 123 bytes.
func (s *Sender) Kick(ctx context.Context, fd int64, code int, reason string) error {
	if err := checkClose(&code, reason); err != nil {
		return err
	}
	_, err := s.onFD(ctx, query{Op: "kick", FD: fd, Code: code, Text: reason})
	return err
}

// KickUID closes all connections of a user, as Kick does, and counts them.
func (s *Sender) KickUID(ctx context.Context, uid string, code int, reason string) (int, error) {
	if err := errors.Join(names.UID(uid), checkClose(&code, reason)); err != nil {
		return 0, err
	}
	return s.sum(ctx, uid, query{Op: "kickUID", UID: uid, Code: code, Text: reason})
}

// Reach is SendToUID that waits for how many connections have taken the push. Like DismissRoom it comes behind what was sent before.
func (s *Sender) Reach(ctx context.Context, uid string, r *Reply, o ...PublishOption) (connections int, err error) {
	if err := names.UID(uid); err != nil {
		return 0, err
	}
	payload, err := s.app.payload(r)
	if err != nil {
		return 0, err
	}
	q := query{Op: "reach", UID: uid, Text: string(payload[wire.Headroom:])}
	if len(o) > 0 {
		q.Delivery = &delivery{}
		for _, option := range o {
			option(q.Delivery)
		}
	}
	return s.sum(ctx, uid, q)
}

// IsOnline tells whether a node has the connection.
func (s *Sender) IsOnline(ctx context.Context, fd int64) (bool, error) {
	if fd <= 0 {
		return false, nil
	}
	_, err := s.onFD(ctx, query{Op: "online", FD: fd})
	if errors.Is(err, ErrNoConnection) {
		return false, nil
	}
	return err == nil, err
}

// IsUIDOnline tells whether a user has a connection.
func (s *Sender) IsUIDOnline(ctx context.Context, uid string) (online bool, err error) {
	if err := names.UID(uid); err != nil {
		return false, err
	}
	err = s.app.ask(ctx, uid, query{Op: "uidOnline", UID: uid}, func(r reply) bool { online = r.Found; return online })
	return online, err
}

// Counts are totals over all nodes.
type Counts = api.Counts

// Counts counts over all nodes.
func (s *Sender) Counts(ctx context.Context) (Counts, error) {
	var total Counts
	var uids, rooms []sample
	err := s.app.ask(ctx, "", query{Op: "counts"}, func(r reply) bool {
		var k counts
		if json.Unmarshal(r.Data, &k) != nil {
			return false
		}
		total.Nodes++
		total.Connections += k.Connections
		total.UIDs += k.UIDs
		total.Rooms += k.RoomCount
		uids, rooms = append(uids, k.UIDSample), append(rooms, k.RoomSample)
		return false
	})
	total.UIDs, total.Rooms = once(uids, total.UIDs), once(rooms, total.Rooms)
	return total, err
}

// RoomCount is the number of members of a room.
func (s *Sender) RoomCount(ctx context.Context, room string) (int, error) {
	if err := names.Room(room); err != nil {
		return 0, err
	}
	return s.sum(ctx, room, query{Op: "roomCount", Room: room})
}

// list asks all nodes for a page each and gives the first of them all.
func list[T any](ctx context.Context, a *App, q query, order func(x, y T) int) ([]T, error) {
	if q.Limit < 1 || q.Limit > maxPage {
		return nil, errLimit
	}
	all := []T{}
	err := a.ask(ctx, q.Room, q, func(r reply) bool {
		var page []T
		if json.Unmarshal(r.Data, &page) == nil {
			all = append(all, page...)
		}
		return false
	})
	slices.SortStableFunc(all, order)
	all = slices.CompactFunc(all, func(x, y T) bool { return order(x, y) == 0 })
	return all[:min(q.Limit, len(all))], err
}

func byFD(x, y Connection) int { return cmp.Compare(x.FD, y.FD) }

// Connections lists connections by fd, those beyond after, at most limit, which is at most 1,000.
func (s *Sender) Connections(ctx context.Context, after int64, limit int) ([]Connection, error) {
	return list(ctx, s.app, query{Op: "connections", After: strconv.FormatInt(after, 10), Limit: limit}, byFD)
}

// RoomMembers lists the members of a room, as Connections does.
func (s *Sender) RoomMembers(ctx context.Context, room string, after int64, limit int) ([]Connection, error) {
	if err := names.Room(room); err != nil {
		return nil, err
	}
	return list(ctx, s.app, query{Op: "members", Room: room, After: strconv.FormatInt(after, 10), Limit: limit}, byFD)
}

// UIDs lists users that have connections, by name, those beyond after, at most limit.
func (s *Sender) UIDs(ctx context.Context, after string, limit int) ([]string, error) {
	return list(ctx, s.app, query{Op: "uids", After: after, Limit: limit}, cmp.Compare[string])
}

// RoomNames lists rooms that have members, by name, those beyond after, at most limit.
func (s *Sender) RoomNames(ctx context.Context, after string, limit int) ([]string, error) {
	return list(ctx, s.app, query{Op: "rooms", After: after, Limit: limit}, cmp.Compare[string])
}

// Nodes lists the nodes that live, this one first. Beside ErrPartial others may live that are not known.
func (s *Sender) Nodes(ctx context.Context) ([]NodeInfo, error) {
	a := s.app
	ctx, cancel := context.WithTimeout(ctx, a.askTime)
	defer cancel()
	others, unknown := a.others(ctx)
	missing := map[string]bool{}
	for _, id := range others {
		missing[id] = true
	}
	var nodes []NodeInfo
	err := a.ask(ctx, "", query{Op: "node"}, func(r reply) bool {
		var info NodeInfo
		if json.Unmarshal(r.Data, &info) == nil {
			info.Self = info.ID == a.nodeID
			delete(missing, info.ID)
			nodes = append(nodes, info)
		}
		return false
	})
	if errors.Is(err, ErrPartial) {
		err = unknown // who has not answered is in the list
	}
	for id := range missing {
		nodes = append(nodes, NodeInfo{ID: id, Missing: true})
	}
	slices.SortStableFunc(nodes, func(x, y NodeInfo) int {
		if x.Self != y.Self {
			return map[bool]int{true: -1, false: 1}[x.Self]
		}
		return cmp.Compare(x.ID, y.ID)
	})
	return nodes, err
}
