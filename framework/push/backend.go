package push

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"wsframe/framework/api"
)

// Backend is the application API, across all nodes. Its arguments have been checked: numbers are in
// range, lists and names have a length that is allowed.
//
// A framework.Server has most of these methods. The others differ by the types of this package.
type Backend interface {
	Pusher
	Rooms
	Users
	Sessions
	Directory

	// ErrorCode returns the code and the message by which a caller gets an error of the other
	// methods; "" = the error's own text. An error that is not for callers has CodeInternal.
	ErrorCode(err error) (c Code, message string)
}

// Pusher sends pushes. Reach waits for all nodes, and Settle until all that was sent survives the
// death of this node; the others do not wait.
type Pusher interface {
	SendToFD(fd int64, p *Push) error
	SendToUID(uid string, p *Push) error
	SendToRoom(room string, p *Push, k Keep) error
	SendToAll(p *Push) error
	SendToMany(t Targets, p *Push) error
	Reach(ctx context.Context, uid string, p *Push) (connections int, err error)
	Settle(ctx context.Context)
}

// Rooms changes who is in a room. With announce, members get a push when a connection joins and
// leaves.
type Rooms interface {
	Join(ctx context.Context, fd int64, room string, announce bool) error
	Leave(ctx context.Context, fd int64, room string) error
	LeaveAll(ctx context.Context, fd int64) error
	// JoinUID and LeaveUID change all connections of a user and return their number.
	JoinUID(ctx context.Context, uid, room string, announce bool) (connections int, err error)
	LeaveUID(ctx context.Context, uid, room string) (connections int, err error)
	DismissRoom(ctx context.Context, room string) (members int, err error)
}

// Users binds users to connections and closes these. The close code 0 means 4011.
type Users interface {
	BindUID(ctx context.Context, fd int64, uid string) error
	UnbindUID(ctx context.Context, fd int64, uid string) error
	Kick(ctx context.Context, fd int64, code int, reason string) error
	KickUID(ctx context.Context, uid string, code int, reason string) (connections int, err error)
}

// Sessions reads and writes the values kept with connections. In UpdateSession, null removes a
// value.
type Sessions interface {
	Session(ctx context.Context, fd int64) (map[string]json.RawMessage, error)
	SetSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error
	UpdateSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error
	// UpdateSessionUID changes all connections of a user and returns their number.
	UpdateSessionUID(ctx context.Context, uid string, values map[string]json.RawMessage) (connections int, err error)
}

// Directory finds out who is online and what rooms have kept. Lists are sorted; after is the last
// item of the page before, limit at most 1,000.
type Directory interface {
	IsOnline(ctx context.Context, fd int64) (bool, error)
	IsUIDOnline(ctx context.Context, uid string) (bool, error)
	Counts(ctx context.Context) (Counts, error)
	RoomCount(ctx context.Context, room string) (int, error)
	Connections(ctx context.Context, after int64, limit int) ([]Connection, error)
	UIDs(ctx context.Context, after string, limit int) ([]string, error)
	// UIDConnections lists all connections of a user.
	UIDConnections(ctx context.Context, uid string) ([]Connection, error)
	RoomNames(ctx context.Context, after string, limit int) ([]string, error)
	RoomMembers(ctx context.Context, room string, after int64, limit int) ([]Connection, error)
	// History returns a page that begins after an offset; -1 = the newest pushes.
	History(ctx context.Context, room string, after int64, limit int) (HistoryPage, error)
}

// The classes of pushes. They say what happens where a connection is slow.
const (
	// NeverDrop is the default: the connection is closed with 4008 when its outbox is full.
	NeverDrop = "never-drop"
	// DropOldest drops the oldest waiting push of this class.
	DropOldest = "drop-oldest"
	// Latest replaces a waiting push with the same key.
	Latest = "latest"
)

// Push is a message for clients, {"status","event","info","param"}, and how it is delivered.
type Push struct {
	Event  string          `json:"event" is:"event" doc:"what the client's code listens for"`
	Info   string          `json:"info,omitempty" is:"info" doc:"a text for people"`
	Status int             `json:"status,omitempty" is:"status" doc:"200 where it is left out"`
	Param  json.RawMessage `json:"param,omitempty" doc:"any JSON"`
	Except []int64         `json:"except,omitempty" is:"fds" doc:"connections that do not get it"`
	Class  string          `json:"class,omitempty" is:"class" doc:"what happens where a connection is slow: it is closed (never-drop, the default), its oldest waiting push of this class is dropped, or the waiting one of the same key is replaced"`
	Key    string          `json:"key,omitempty" is:"key" doc:"of the class latest"`
}

// JSON returns v as a Param. A value that cannot be encoded makes the call that sends it fail.
func JSON(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		// The encoding of the whole push fails over text that is no JSON.
		return json.RawMessage("!" + err.Error())
	}
	return bytes.TrimSpace(b.Bytes())
}

// Keep is how a room's history keeps a push: it then has at most Length pushes, and none older than
// AgeSeconds. The zero Keep leaves it to the server's configuration.
type Keep struct {
	Length     int `json:"keep,omitempty" is:"keep" doc:"keeps the push in the history of the room, which then holds at most so many; needs age_seconds"`
	AgeSeconds int `json:"age_seconds,omitempty" is:"age" doc:"how long the history keeps a push; needs keep"`
}

// Age returns AgeSeconds as a duration.
func (k Keep) Age() time.Duration { return time.Duration(k.AgeSeconds) * time.Second }

// The types of results are those of package framework.
type (
	Counts      = api.Counts
	Identity    = api.Identity
	Connection  = api.Connection
	HistoryItem = api.HistoryItem
	HistoryPage = api.HistoryPage
)
