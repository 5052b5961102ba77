package push

import (
	"context"
	"encoding/json"
)

// A Client has a type for each part of the Backend. Each calls the server by a Client's Call.
type (
	// call is Client.Call.
	call func(ctx context.Context, method string, params, result any) error

	// pushCalls send pushes.
	pushCalls struct{ call call }
	// roomCalls change who is in a room.
	roomCalls struct{ call call }
	// userCalls bind users to connections and close these.
	userCalls struct{ call call }
	// sessionCalls read and write the values kept with a connection.
	sessionCalls struct{ call call }
	// directoryCalls ask who is online and what rooms have kept.
	directoryCalls struct{ call call }
)

// ask makes a call that has a result.
func ask[T any](ctx context.Context, c call, method string, params any) (result T, err error) {
	err = c(ctx, method, params, &result)
	return result, err
}

// SendToFD sends a push to one connection.
func (c pushCalls) SendToFD(ctx context.Context, fd int64, p *Push) error {
	return c.call(ctx, "sendToFD", pushToFD{onFD{fd}, *p}, nil)
}

// SendToUID sends a push to all connections of a user.
func (c pushCalls) SendToUID(ctx context.Context, uid string, p *Push) error {
	return c.call(ctx, "sendToUID", pushToUID{onUID{uid}, *p}, nil)
}

// SendToRoom sends a push to all members of a room. The zero Keep leaves it to the server's
// configuration whether history keeps the push.
func (c pushCalls) SendToRoom(ctx context.Context, room string, p *Push, k Keep) error {
	return c.call(ctx, "sendToRoom", pushToRoom{onRoom{room}, *p, k}, nil)
}

// Publish is another name of SendToRoom.
func (c pushCalls) Publish(ctx context.Context, room string, p *Push, k Keep) error {
	return c.SendToRoom(ctx, room, p, k)
}

// SendToAll sends a push to all connections.
func (c pushCalls) SendToAll(ctx context.Context, p *Push) error {
	return c.call(ctx, "sendToAll", pushToAll{*p}, nil)
}

// Reach sends a push to all connections of a user and returns how many have taken it.
func (c pushCalls) Reach(ctx context.Context, uid string, p *Push) (connections int, err error) {
	r, err := ask[reached](ctx, c.call, "reach", pushToUID{onUID{uid}, *p})
	return r.Connections, err
}

// Join adds a connection to a room. With announce, members get a push when it joins and leaves.
func (c roomCalls) Join(ctx context.Context, fd int64, room string, announce bool) error {
	return c.call(ctx, "join", joining{onFD{fd}, onRoom{room}, announce}, nil)
}

// Leave removes a connection from a room.
func (c roomCalls) Leave(ctx context.Context, fd int64, room string) error {
	return c.call(ctx, "leave", fdAndRoom{onFD{fd}, onRoom{room}}, nil)
}

// LeaveAll removes a connection from all its rooms.
func (c roomCalls) LeaveAll(ctx context.Context, fd int64) error {
	return c.call(ctx, "leaveAll", onFD{fd}, nil)
}

// DismissRoom removes all members from a room and returns how many there were.
func (c roomCalls) DismissRoom(ctx context.Context, room string) (members int, err error) {
	r, err := ask[membersCount](ctx, c.call, "dismissRoom", onRoom{room})
	return r.Members, err
}

// BindUID makes a connection one of those that sends to uid reach.
func (c userCalls) BindUID(ctx context.Context, fd int64, uid string) error {
	return c.call(ctx, "bindUID", fdAndUID{onFD{fd}, onUID{uid}}, nil)
}

// UnbindUID undoes BindUID.
func (c userCalls) UnbindUID(ctx context.Context, fd int64, uid string) error {
	return c.call(ctx, "unbindUID", fdAndUID{onFD{fd}, onUID{uid}}, nil)
}

// Kick closes a connection after all that was sent to it before. The close code is 1000 or
// 3000-4999; 0 means 4011.
func (c userCalls) Kick(ctx context.Context, fd int64, code int, reason string) error {
	return c.call(ctx, "kick", kick{onFD{fd}, code, reason}, nil)
}

// KickUID closes all connections of a user and returns how many there were.
func (c userCalls) KickUID(ctx context.Context, uid string, code int, reason string) (connections int, err error) {
	r, err := ask[reached](ctx, c.call, "kickUID", kickUID{onUID{uid}, code, reason})
	return r.Connections, err
}

// Session returns the values kept with a connection.
func (c sessionCalls) Session(ctx context.Context, fd int64) (map[string]json.RawMessage, error) {
	r, err := ask[session](ctx, c.call, "session", onFD{fd})
	return r.Values, err
}

// SetSession replaces the values kept with a connection.
func (c sessionCalls) SetSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error {
	return c.call(ctx, "setSession", sessionValues{onFD{fd}, values}, nil)
}

// UpdateSession merges values into those kept with a connection; null removes one.
func (c sessionCalls) UpdateSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error {
	return c.call(ctx, "updateSession", sessionValues{onFD{fd}, values}, nil)
}

// IsOnline tells whether a connection is open.
func (c directoryCalls) IsOnline(ctx context.Context, fd int64) (bool, error) {
	r, err := ask[online](ctx, c.call, "isOnline", onFD{fd})
	return r.Online, err
}

// IsUIDOnline tells whether a user has a connection.
func (c directoryCalls) IsUIDOnline(ctx context.Context, uid string) (bool, error) {
	r, err := ask[online](ctx, c.call, "isUIDOnline", onUID{uid})
	return r.Online, err
}

// Counts returns totals over all nodes.
func (c directoryCalls) Counts(ctx context.Context) (Counts, error) {
	return ask[Counts](ctx, c.call, "counts", nothing{})
}

// RoomCount returns the number of members of a room.
func (c directoryCalls) RoomCount(ctx context.Context, room string) (int, error) {
	r, err := ask[membersCount](ctx, c.call, "roomCount", onRoom{room})
	return r.Members, err
}

// Connections lists connections with an fd above after, sorted by fd. The limit is 1 to 1,000.
func (c directoryCalls) Connections(ctx context.Context, after int64, limit int) ([]Connection, error) {
	r, err := ask[connectionList](ctx, c.call, "connections", fdPage{after, limit})
	return r.Items, err
}

// RoomMembers lists members of a room with an fd above after, sorted by fd. The limit is 1 to
// 1,000.
func (c directoryCalls) RoomMembers(ctx context.Context, room string, after int64, limit int) ([]Connection, error) {
	r, err := ask[connectionList](ctx, c.call, "roomMembers", memberPage{onRoom{room}, fdPage{after, limit}})
	return r.Items, err
}

// UIDs lists users that have connections and whose name comes after the given one, sorted. The
// limit is 1 to 1,000.
func (c directoryCalls) UIDs(ctx context.Context, after string, limit int) ([]string, error) {
	r, err := ask[nameList](ctx, c.call, "uids", namePage{after, limit})
	return r.Items, err
}

// RoomNames lists rooms that have members and whose name comes after the given one, sorted. The
// limit is 1 to 1,000.
func (c directoryCalls) RoomNames(ctx context.Context, after string, limit int) ([]string, error) {
	r, err := ask[nameList](ctx, c.call, "roomNames", namePage{after, limit})
	return r.Items, err
}

// History returns a page of a room's history, beginning after an offset; -1 returns the newest
// pushes. The limit is 1 to 1,000.
func (c directoryCalls) History(ctx context.Context, room string, after int64, limit int) (HistoryPage, error) {
	return ask[HistoryPage](ctx, c.call, "history", historyPage{onRoom{room}, after, limit})
}

// SendToMany sends a push to many connections, users and rooms.
func (c pushCalls) SendToMany(ctx context.Context, t Targets, p *Push) error {
	return c.call(ctx, "sendToMany", pushToMany{t, *p}, nil)
}

// JoinUID puts all connections of a user into a room and returns their number.
func (c roomCalls) JoinUID(ctx context.Context, uid, room string, announce bool) (connections int, err error) {
	r, err := ask[reached](ctx, c.call, "joinUID", joiningUID{onUID{uid}, onRoom{room}, announce})
	return r.Connections, err
}

// LeaveUID takes all connections of a user out of a room and returns their number.
func (c roomCalls) LeaveUID(ctx context.Context, uid, room string) (connections int, err error) {
	r, err := ask[reached](ctx, c.call, "leaveUID", uidAndRoom{onUID{uid}, onRoom{room}})
	return r.Connections, err
}

// UpdateSessionUID merges values into those kept with each connection of a user and returns their
// number; null removes a value.
func (c sessionCalls) UpdateSessionUID(ctx context.Context, uid string, values map[string]json.RawMessage) (connections int, err error) {
	r, err := ask[reached](ctx, c.call, "updateSessionUID", uidValues{onUID{uid}, values})
	return r.Connections, err
}

// UIDConnections lists all connections of a user.
func (c directoryCalls) UIDConnections(ctx context.Context, uid string) ([]Connection, error) {
	r, err := ask[connectionList](ctx, c.call, "uidConnections", onUID{uid})
	return r.Items, err
}
