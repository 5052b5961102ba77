package cluster

import (
	"encoding/json"

	"wsframe/framework/auth"
)

// Entry is the record of one connection in Redis.
type Entry struct {
	FD        int64
	Auth      []byte    // JSON of the identity
	UID       string    // the user's id, for wechatUser only
	Keys      []string  // sets from which the fd is removed on close
	Listeners []string  // close listeners: controllers that are notified of the close
	Present   []Present // in State and Opened: the user, in rooms that have announced him
}

// Orphan is a connection whose process died.
type Orphan = Entry

// Present is a user in a room that announces its members.
type Present struct {
	Room     string `json:"r"`
	ID       string `json:"u"`
	Nickname string `json:"-"`
	Ticket   string `json:"-"` // identifies a coming that is not announced yet

	value string // his field's value in the room's hash
}

// asserted returns the hash value of a user whose coming was announced.
func (p *Present) asserted() string { return "+ " + p.Nickname }

// leaving returns the name of a departure. The name of a room contains no space.
func leaving(room, id string) string { return room + " " + id }

// uidOf returns the user id of an identity whose type has an entry in UIDTOFD (contract §4: only
// wechatUser); "" = none.
func uidOf(identity []byte) string {
	var id struct{ ID, Type string }
	if json.Unmarshal(identity, &id) != nil || id.Type != auth.TypeWechatUser {
		return ""
	}
	return id.ID
}
