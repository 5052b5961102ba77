package push

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"wsframe/framework/api"
)

// Backend is the application API, across all nodes. A framework.Server has most of it as it stands; what differs takes and
// gives the types of this package. Arguments have been checked: numbers are in range, lists and names not too long.
type Backend interface {
	Pusher
	Rooms
	Users
	Sessions
	Directory

	// ErrorCode says which code the client is told of an error of the others, and in which words; "" = the words of the
	// error itself. What is nobody's business gets CodeInternal.
	ErrorCode(err error) (c Code, message string)
}

// Pusher sends. Only Reach waits, and Settle: until what was sent is safe from the death of this node.
type Pusher interface {
	SendToFD(fd int64, p *Push) error
	SendToUID(uid string, p *Push) error
	SendToRoom(room string, p *Push, k Keep) error
	SendToAll(p *Push) error
	Reach(ctx context.Context, uid string, p *Push) (connections int, err error)
	Settle(ctx context.Context)
}

// Rooms are who is where. Announce has the members told.
type Rooms interface {
	Join(ctx context.Context, fd int64, room string, announce bool) error
	Leave(ctx context.Context, fd int64, room string) error
	LeaveAll(ctx context.Context, fd int64) error
	DismissRoom(ctx context.Context, room string) (members int, err error)
}

// Users are bound to connections, and thrown out. A close code of 0 is the default of a kick.
type Users interface {
	BindUID(ctx context.Context, fd int64, uid string) error
	UnbindUID(ctx context.Context, fd int64, uid string) error
	Kick(ctx context.Context, fd int64, code int, reason string) error
	KickUID(ctx context.Context, uid string, code int, reason string) (connections int, err error)
}

// Sessions are values kept with connections; null removes one in UpdateSession.
type Sessions interface {
	Session(ctx context.Context, fd int64) (map[string]json.RawMessage, error)
	SetSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error
	UpdateSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error
}

// Directory answers who is there. Lists are sorted; after is the last of the page before, limit at most 1,000.
type Directory interface {
	IsOnline(ctx context.Context, fd int64) (bool, error)
	IsUIDOnline(ctx context.Context, uid string) (bool, error)
	Counts(ctx context.Context) (Counts, error)
	RoomCount(ctx context.Context, room string) (int, error)
	Connections(ctx context.Context, after int64, limit int) ([]Connection, error)
	UIDs(ctx context.Context, after string, limit int) ([]string, error)
	RoomNames(ctx context.Context, after string, limit int) ([]string, error)
	RoomMembers(ctx context.Context, room string, after int64, limit int) ([]Connection, error)
	History(ctx context.Context, room string, after int64, limit int) (HistoryPage, error) // after < 0: the newest
}

// What happens to a push where a connection is slow.
const (
	NeverDrop  = "never-drop"  // the connection is closed with 4008 when its outbox is full; the default
	DropOldest = "drop-oldest" // the oldest such push waiting for it is dropped
	Latest     = "latest"      // one waiting with the same key is replaced
)

// Push is what clients get, {"status","event","info","param"}, and how.
type Push struct {
	Event  string          `json:"event" is:"event" doc:"what the client's code listens for"`
	Info   string          `json:"info,omitempty" is:"info" doc:"a text for people"`
	Status int             `json:"status,omitempty" is:"status" doc:"200 where it is left out"`
	Param  json.RawMessage `json:"param,omitempty" doc:"any JSON"`
	Except []int64         `json:"except,omitempty" is:"fds" doc:"connections that do not get it"`
	Class  string          `json:"class,omitempty" is:"class" doc:"what happens where a connection is slow: it is closed (never-drop, the default), its oldest waiting push of this class is dropped, or the waiting one of the same key is replaced"`
	Key    string          `json:"key,omitempty" is:"key" doc:"of the class latest"`
}

// JSON is v as a Param; what cannot be encoded becomes an error of the call that sends it.
func JSON(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return json.RawMessage("!" + err.Error()) // no JSON: Marshal of the whole refuses it
	}
	return bytes.TrimSpace(b.Bytes())
}

// Keep has a push kept in its room's history, which then holds at most Length pushes and none older than AgeSeconds. The zero Keep
// leaves it to the server's configuration.
type Keep struct {
	Length     int `json:"keep,omitempty" is:"keep" doc:"has the push kept in the room's history, which then holds at most so many; needs age_seconds"`
	AgeSeconds int `json:"age_seconds,omitempty" is:"age" doc:"how long the history keeps a push; needs keep"`
}

// Age is AgeSeconds.
func (k Keep) Age() time.Duration { return time.Duration(k.AgeSeconds) * time.Second }

// What calls answer is the same as in package framework.
type (
	Counts      = api.Counts
	Identity    = api.Identity
	Connection  = api.Connection
	HistoryItem = api.HistoryItem
	HistoryPage = api.HistoryPage
)
