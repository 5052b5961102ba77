package push

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"

	"wsframe/framework/internal/wire"
)

// Scopes of a token.
const (
	ScopeSend   = "send"   // sends pushes
	ScopeRead   = "read"   // reads who is online, sessions and history
	ScopeManage = "manage" // changes rooms, users and sessions, and closes connections
)

var scopes = []string{ScopeSend, ScopeRead, ScopeManage}

// method decodes, makes and describes one call.
type method struct {
	name, scope, about string
	in                 reflect.Type
	fields             []field
	out                reflect.Type // nil = an empty object
	call               func(ctx context.Context, b Backend, body []byte) (any, error)
}

// The requests. The tags of their fields are the checks and the documentation.
type (
	onFD struct {
		FD int64 `json:"fd" is:"fd" doc:"the connection's number"`
	}
	onUID struct {
		UID string `json:"uid" is:"uid" doc:"the user"`
	}
	onRoom struct {
		Room string `json:"room" is:"room" doc:"the room's name"`
	}
	pushToFD struct {
		onFD
		Push
	}
	pushToUID struct {
		onUID
		Push
	}
	pushToRoom struct {
		onRoom
		Push
		Keep
	}
	pushToAll struct {
		Push
	}
	// Targets are the receivers of one push.
	Targets struct {
		FDs   []int64  `json:"fds,omitempty" is:"fds" doc:"connections, at most 1,000"`
		UIDs  []string `json:"uids,omitempty" is:"uids" doc:"users, at most 1,000"`
		Rooms []string `json:"rooms,omitempty" is:"rooms" doc:"rooms, at most 1,000"`
	}
	pushToMany struct {
		Targets
		Push
	}
	joiningUID struct {
		onUID
		onRoom
		Announce bool `json:"announce,omitempty" doc:"notify the members of users who join and leave"`
	}
	uidAndRoom struct {
		onUID
		onRoom
	}
	uidValues struct {
		onUID
		Values map[string]json.RawMessage `json:"values" is:"values" doc:"any JSON by name, 16 KiB in all"`
	}
	fdAndRoom struct {
		onFD
		onRoom
	}
	joining struct {
		onFD
		onRoom
		Announce bool `json:"announce,omitempty" doc:"notify the members of users who join and leave"`
	}
	fdAndUID struct {
		onFD
		onUID
	}
	kick struct {
		onFD
		Code   int    `json:"code,omitempty" is:"code" doc:"close code, 1000 or 3000-4999; 4011 where it is left out"`
		Reason string `json:"reason,omitempty" is:"reason" doc:"at most 123 bytes"`
	}
	kickUID struct {
		onUID
		Code   int    `json:"code,omitempty" is:"code" doc:"close code, 1000 or 3000-4999; 4011 where it is left out"`
		Reason string `json:"reason,omitempty" is:"reason" doc:"at most 123 bytes"`
	}
	sessionValues struct {
		onFD
		Values map[string]json.RawMessage `json:"values" is:"values" doc:"any JSON by name, 16 KiB in all"`
	}
	fdPage struct {
		After int64 `json:"after,omitempty" is:"after" doc:"the last fd of the page before"`
		Limit int   `json:"limit,omitempty" is:"limit" doc:"100 where it is left out"`
	}
	memberPage struct {
		onRoom
		fdPage
	}
	namePage struct {
		After string `json:"after,omitempty" is:"name" doc:"the last name of the page before"`
		Limit int    `json:"limit,omitempty" is:"limit" doc:"100 where it is left out"`
	}
	historyPage struct {
		onRoom
		After int64 `json:"after,omitempty" is:"back" doc:"the offset after which to begin; -1 = the newest ones"`
		Limit int   `json:"limit,omitempty" is:"limit" doc:"100 where it is left out"`
	}
	nothing struct{}
)

// The results.
type (
	reached struct {
		Connections int `json:"connections" doc:"how many there were"`
	}
	membersCount struct {
		Members int `json:"members"`
	}
	online struct {
		Online bool `json:"online"`
	}
	session struct {
		Values map[string]json.RawMessage `json:"values"`
	}
	connectionList struct {
		Items []Connection `json:"items" doc:"sorted by fd"`
	}
	nameList struct {
		Items []string `json:"items" doc:"sorted"`
	}
)

// define makes a method of a function. The types In and Out give the fields of its request and
// result.
func define[In, Out any](name, scope, about string, call func(ctx context.Context, b Backend, in *In) (Out, error)) *method {
	m := &method{name: name, scope: scope, about: about, in: reflect.TypeFor[In](), fields: fieldsOf(reflect.TypeFor[In]())}
	if out := reflect.TypeFor[Out](); out != reflect.TypeFor[nothing]() {
		m.out = out
	}
	m.call = func(ctx context.Context, b Backend, body []byte) (any, error) {
		in := new(In)
		if e := decode(body, m.fields, in); e != nil {
			return nil, e
		}
		return call(ctx, b, in)
	}
	return m
}

// done returns the result of a call that only succeeds or fails.
func done(err error) (nothing, error) { return nothing{}, err }

// sent is the result of a send.
type sent struct {
	Queued bool `json:"queued,omitempty" doc:"Redis does not accept it at the moment: connections of this node have it, others get it later"`
}

// queued returns the result of a send. ErrQueued is no error of the call.
func queued(err error) (sent, error) {
	if errors.Is(err, ErrQueued) {
		return sent{Queued: true}, nil
	}
	return sent{}, err
}

func (p *Push) check() *Error {
	switch {
	case p.Class == Latest && p.Key == "":
		return fail(CodeBadRequest, "key is missing: the class latest needs one")
	case p.Class != Latest && p.Key != "":
		return fail(CodeBadRequest, "key belongs to the class latest")
	}
	return nil
}

func (k *Keep) check() *Error {
	if (k.Length == 0) != (k.AgeSeconds == 0) {
		return fail(CodeBadRequest, "keep and age_seconds belong together")
	}
	return nil
}

func checkKick(code int, reason string) *Error {
	switch {
	case code != 0 && !wire.MayClose(code):
		return fail(CodeBadRequest, "code must be 1000 or 3000-4999")
	case len(reason) > wire.MaxReason:
		return fail(CodeBadRequest, "reason must have at most 123 bytes")
	}
	return nil
}

func first(errs ...*Error) error {
	for _, e := range errs {
		if e != nil {
			return e
		}
	}
	return nil
}

func limit(n int) int {
	if n == 0 {
		return 100
	}
	return n
}

func sendToRoom(_ context.Context, b Backend, in *pushToRoom) (sent, error) {
	if err := first(in.Push.check(), in.Keep.check()); err != nil {
		return sent{}, err
	}
	return queued(b.SendToRoom(in.Room, &in.Push, in.Keep))
}

// methods are all calls except batch, which is made of them.
var methods = []*method{
	define("sendToFD", ScopeSend, "Sends a push to one connection.", func(_ context.Context, b Backend, in *pushToFD) (sent, error) {
		if err := first(in.Push.check()); err != nil {
			return sent{}, err
		}
		return queued(b.SendToFD(in.FD, &in.Push))
	}),
	define("sendToUID", ScopeSend, "Sends a push to all connections of a user, without counting them.", func(_ context.Context, b Backend, in *pushToUID) (sent, error) {
		if err := first(in.Push.check()); err != nil {
			return sent{}, err
		}
		return queued(b.SendToUID(in.UID, &in.Push))
	}),
	define("sendToRoom", ScopeSend, "Sends a push to all members of a room.", sendToRoom),
	define("publish", ScopeSend, "The same as sendToRoom.", sendToRoom),
	define("sendToAll", ScopeSend, "Sends a push to all connections.", func(_ context.Context, b Backend, in *pushToAll) (sent, error) {
		if err := first(in.Push.check()); err != nil {
			return sent{}, err
		}
		return queued(b.SendToAll(&in.Push))
	}),
	define("sendToMany", ScopeSend, "Sends a push to many connections, users and rooms.", func(_ context.Context, b Backend, in *pushToMany) (sent, error) {
		if err := first(in.Push.check()); err != nil {
			return sent{}, err
		}
		return queued(b.SendToMany(in.Targets, &in.Push))
	}),
	define("reach", ScopeSend, "Sends a push to all connections of a user, and counts those that accepted it.", func(ctx context.Context, b Backend, in *pushToUID) (reached, error) {
		if err := first(in.Push.check()); err != nil {
			return reached{}, err
		}
		n, err := b.Reach(ctx, in.UID, &in.Push)
		return reached{n}, err
	}),
	define("join", ScopeManage, "Puts a connection into a room.", func(ctx context.Context, b Backend, in *joining) (nothing, error) {
		return done(b.Join(ctx, in.FD, in.Room, in.Announce))
	}),
	define("leave", ScopeManage, "Takes a connection out of a room.", func(ctx context.Context, b Backend, in *fdAndRoom) (nothing, error) {
		return done(b.Leave(ctx, in.FD, in.Room))
	}),
	define("leaveAll", ScopeManage, "Takes a connection out of all its rooms.", func(ctx context.Context, b Backend, in *onFD) (nothing, error) {
		return done(b.LeaveAll(ctx, in.FD))
	}),
	define("joinUID", ScopeManage, "Puts all connections of a user into a room.", func(ctx context.Context, b Backend, in *joiningUID) (reached, error) {
		n, err := b.JoinUID(ctx, in.UID, in.Room, in.Announce)
		return reached{n}, err
	}),
	define("leaveUID", ScopeManage, "Takes all connections of a user out of a room.", func(ctx context.Context, b Backend, in *uidAndRoom) (reached, error) {
		n, err := b.LeaveUID(ctx, in.UID, in.Room)
		return reached{n}, err
	}),
	define("dismissRoom", ScopeManage, "Takes all members out of a room.", func(ctx context.Context, b Backend, in *onRoom) (membersCount, error) {
		n, err := b.DismissRoom(ctx, in.Room)
		return membersCount{n}, err
	}),
	define("bindUID", ScopeManage, "Makes a connection reachable by a uid.", func(ctx context.Context, b Backend, in *fdAndUID) (nothing, error) {
		return done(b.BindUID(ctx, in.FD, in.UID))
	}),
	define("unbindUID", ScopeManage, "Undoes bindUID.", func(ctx context.Context, b Backend, in *fdAndUID) (nothing, error) {
		return done(b.UnbindUID(ctx, in.FD, in.UID))
	}),
	define("kick", ScopeManage, "Closes a connection after what was sent to it before.", func(ctx context.Context, b Backend, in *kick) (nothing, error) {
		if err := first(checkKick(in.Code, in.Reason)); err != nil {
			return nothing{}, err
		}
		return done(b.Kick(ctx, in.FD, in.Code, in.Reason))
	}),
	define("kickUID", ScopeManage, "Closes all connections of a user.", func(ctx context.Context, b Backend, in *kickUID) (reached, error) {
		if err := first(checkKick(in.Code, in.Reason)); err != nil {
			return reached{}, err
		}
		n, err := b.KickUID(ctx, in.UID, in.Code, in.Reason)
		return reached{n}, err
	}),
	define("session", ScopeRead, "Returns the values kept with a connection.", func(ctx context.Context, b Backend, in *onFD) (session, error) {
		values, err := b.Session(ctx, in.FD)
		return session{values}, err
	}),
	define("setSession", ScopeManage, "Replaces the values kept with a connection.", func(ctx context.Context, b Backend, in *sessionValues) (nothing, error) {
		return done(b.SetSession(ctx, in.FD, in.Values))
	}),
	define("updateSession", ScopeManage, "Merges values into those kept with a connection; null removes one.", func(ctx context.Context, b Backend, in *sessionValues) (nothing, error) {
		return done(b.UpdateSession(ctx, in.FD, in.Values))
	}),
	define("updateSessionUID", ScopeManage, "Merges values into those kept with each connection of a user; null removes one.", func(ctx context.Context, b Backend, in *uidValues) (reached, error) {
		n, err := b.UpdateSessionUID(ctx, in.UID, in.Values)
		return reached{n}, err
	}),
	define("isOnline", ScopeRead, "Reports whether a connection is open.", func(ctx context.Context, b Backend, in *onFD) (online, error) {
		ok, err := b.IsOnline(ctx, in.FD)
		return online{ok}, err
	}),
	define("isUIDOnline", ScopeRead, "Reports whether a user has a connection.", func(ctx context.Context, b Backend, in *onUID) (online, error) {
		ok, err := b.IsUIDOnline(ctx, in.UID)
		return online{ok}, err
	}),
	define("counts", ScopeRead, "Counts over all nodes.", func(ctx context.Context, b Backend, _ *nothing) (Counts, error) {
		return b.Counts(ctx)
	}),
	define("roomCount", ScopeRead, "Counts the members of a room.", func(ctx context.Context, b Backend, in *onRoom) (membersCount, error) {
		n, err := b.RoomCount(ctx, in.Room)
		return membersCount{n}, err
	}),
	define("connections", ScopeRead, "Lists connections, in pages.", func(ctx context.Context, b Backend, in *fdPage) (connectionList, error) {
		list, err := b.Connections(ctx, in.After, limit(in.Limit))
		return connectionList{list}, err
	}),
	define("roomMembers", ScopeRead, "Lists the members of a room, in pages.", func(ctx context.Context, b Backend, in *memberPage) (connectionList, error) {
		list, err := b.RoomMembers(ctx, in.Room, in.After, limit(in.Limit))
		return connectionList{list}, err
	}),
	define("uidConnections", ScopeRead, "Lists all connections of a user.", func(ctx context.Context, b Backend, in *onUID) (connectionList, error) {
		list, err := b.UIDConnections(ctx, in.UID)
		return connectionList{list}, err
	}),
	define("uids", ScopeRead, "Lists users that have connections, in pages.", func(ctx context.Context, b Backend, in *namePage) (nameList, error) {
		list, err := b.UIDs(ctx, in.After, limit(in.Limit))
		return nameList{list}, err
	}),
	define("roomNames", ScopeRead, "Lists rooms that have members, in pages.", func(ctx context.Context, b Backend, in *namePage) (nameList, error) {
		list, err := b.RoomNames(ctx, in.After, limit(in.Limit))
		return nameList{list}, err
	}),
	define("history", ScopeRead, "Reads a part of a room's history.", func(ctx context.Context, b Backend, in *historyPage) (HistoryPage, error) {
		return b.History(ctx, in.Room, in.After, limit(in.Limit))
	}),
}

func findMethod(name string) *method {
	i := slices.IndexFunc(methods, func(m *method) bool { return strings.EqualFold(m.name, name) })
	if i < 0 {
		return nil
	}
	return methods[i]
}

// changes tells whether doing a call twice makes a difference.
func (m *method) changes() bool { return m.scope != ScopeRead }

func (m *method) forbidden() *Error {
	return fail(CodeForbidden, "%s needs a token with the scope %s", m.name, m.scope)
}
