package cluster

import (
	"encoding/json"

	"wsframe/framework/auth"
)

// Entry is what Redis knows of one connection.
type Entry struct {
	FD        int64
	Auth      []byte    // JSON of the identity
	UID       string    // the user's id, for wechatUser only
	Keys      []string  // sets from which the fd is removed on close
	Listeners []string  // controllers that are told of the close
	Present   []Present // of Live and Opened: the user, in rooms whose members know that he is there
}

// Orphan is a connection whose process died.
type Orphan = Entry

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

// uidOf is the user id in an identity's JSON whose type has an entry in UIDTOFD (contract §4:
// wechatUser only).
func uidOf(identity []byte) string {
	var id struct{ ID, Type string }
	if json.Unmarshal(identity, &id) != nil || id.Type != auth.TypeWechatUser {
		return ""
	}
	return id.ID
}
