// Package names says what a room, a close key and a user may be called: once for the framework, the HTTP port and the configuration.
//
//	if err := names.Room(room); err != nil { // ErrRoom or ErrReserved, with the name in front
//
// A room or a close key is the name of a Redis key too (contract §4), behind the configured prefix. So the names of the framework's
// own keys, and of those that a module has reserved, are no names of rooms. Names are compared as Redis compares them: byte by byte,
// so that websocket_a is another name than WEBSOCKET_a. All functions are safe for concurrent use.
package names

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Limits in characters, and the characters allowed beside letters and digits of any script.
const (
	MaxRoom  = 128
	MaxUID   = 64
	roomMark = "_.:@{}-"
	uidMark  = "_.:@+/=|*{}-"

	// RoomPattern and UIDPattern are the same rules as regular expressions, without the lengths.
	RoomPattern = `^[\p{L}\p{N}_.:@{}-]+$`
	UIDPattern  = `^[\p{L}\p{N}_.:@+/=|*{}-]+$`
)

var (
	// ErrRoom is returned for room names and close keys that cannot be Redis keys of ours.
	ErrRoom = errors.New("names are 1 to 128 letters, digits and any of _.:@{}-")
	// ErrUID is returned for uids that nobody can have.
	ErrUID = errors.New("uids are 1 to 64 letters, digits and any of _.:@+/=|*{}-")
	// ErrReserved is returned for room names and close keys that are keys of the server or of a module.
	ErrReserved = errors.New("the name is reserved")
)

// reserved are the prefixes of keys that no room has. The first two are the framework's own.
var (
	mu       sync.RWMutex
	reserved = []string{"WEBSOCKET_", "WSFRAME"}
)

// Reserve keeps every name that begins with prefix from being a room or a close key, in this process. The error is ErrRoom where
// prefix is no beginning of a name: an empty one would reserve all of them.
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

// Reserved gives the reserved prefix that name begins with; "" = none.
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

// Room checks the name of a room or a close key.
func Room(name string) error {
	if !safe(name, MaxRoom, roomMark) {
		return fmt.Errorf("%.40q: %w", name, ErrRoom)
	}
	if prefix := Reserved(name); prefix != "" {
		return fmt.Errorf("%.40q begins with %s: %w", name, prefix, ErrReserved)
	}
	return nil
}

// UID checks a user's id.
func UID(uid string) error {
	if !safe(uid, MaxUID, uidMark) {
		return fmt.Errorf("uid %.40q: %w", uid, ErrUID)
	}
	return nil
}

// safe tells whether a text has 1 to max characters, all of them letters, digits or one of marks.
func safe(text string, max int, marks string) bool {
	n := 0
	for _, r := range text { // bytes that are not UTF-8 come as U+FFFD, which is not allowed
		if n++; n > max || !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune(marks, r) {
			return false
		}
	}
	return n > 0
}
