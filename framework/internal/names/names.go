// Package names checks the names of rooms and close keys, and the ids of users, for the framework,
// the HTTP port and the configuration.
//
//	if err := names.Room(room); err != nil { // ErrRoom or ErrReserved, wrapped with the name
//
// A room or a close key is also the name of a Redis key, after the configured prefix (contract §4).
// So the names of the framework's own keys, and of keys that a module has reserved, are refused. As
// in Redis, names differ in case: websocket_a is allowed, WEBSOCKET_a is not. All functions are
// safe for concurrent use.
package names

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
)

const (
	// MaxRoom and MaxUID are limits in characters.
	MaxRoom  = 128
	MaxUID   = 64
	roomMark = "_.:@{}-" // allowed, like letters and digits of any script
	uidMark  = "_.:@+/=|*{}-"

	// RoomPattern and UIDPattern are the same rules as regular expressions, without the lengths.
	RoomPattern = `^[\p{L}\p{N}_.:@{}-]+$`
	UIDPattern  = `^[\p{L}\p{N}_.:@+/=|*{}-]+$`
)

var (
	// ErrRoom is returned for room names and close keys with other characters, or of another
	// length.
	ErrRoom = errors.New("names are 1 to 128 letters, digits and any of _.:@{}-")
	// ErrUID is returned for uids with other characters, or of another length.
	ErrUID = errors.New("uids are 1 to 64 letters, digits and any of _.:@+/=|*{}-")
	// ErrReserved is returned for room names and close keys with a reserved prefix.
	ErrReserved = errors.New("the name is reserved")
)

// reserved lists the reserved prefixes. The first two belong to the framework.
var (
	mu       sync.RWMutex
	reserved = []string{"WEBSOCKET_", "WSFRAME"}
)

// Reserve makes Room refuse every name with that prefix, in this process. The error is ErrRoom for
// a prefix with which no name can begin, and for an empty one.
func Reserve(prefix string) error {
	if !safe(prefix, MaxRoom, roomMark) {
		return fmt.Errorf("reserve %.40q: %w", prefix, ErrRoom)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Contains(reserved, prefix) {
		reserved = append(reserved, prefix)
	}
	return nil
}

// Reserved returns the reserved prefix of a name; "" = none.
func Reserved(name string) string {
	mu.RLock()
	defer mu.RUnlock()
	for _, prefix := range reserved {
		if strings.HasPrefix(name, prefix) {
			return prefix
		}
	}
	return ""
}

// Room checks the name of a room or a close key. The error is ErrRoom or ErrReserved.
func Room(name string) error {
	if !safe(name, MaxRoom, roomMark) {
		return fmt.Errorf("%.40q: %w", name, ErrRoom)
	}
	if prefix := Reserved(name); prefix != "" {
		return fmt.Errorf("%.40q begins with %s: %w", name, prefix, ErrReserved)
	}
	return nil
}

// UID checks a user's id. The error is ErrUID.
func UID(uid string) error {
	if !safe(uid, MaxUID, uidMark) {
		return fmt.Errorf("uid %.40q: %w", uid, ErrUID)
	}
	return nil
}

// safe reports whether a text has 1 to max characters, each a letter, a digit or one of marks.
func safe(text string, max int, marks string) bool {
	n := 0
	for _, r := range text { // invalid UTF-8 becomes U+FFFD, which is refused
		if n++; n > max || !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune(marks, r) {
			return false
		}
	}
	return n > 0
}
