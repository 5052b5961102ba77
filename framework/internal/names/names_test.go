package names

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestRoom(t *testing.T) {
	if err := Reserve("LIVE_USER_MESSAGE_"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"lobby": nil, "房间": nil, "a:{b}@c.d-e_f": nil, strings.Repeat("房", 128): nil,
		"LIVE_USER_ROOM_V": nil, "LIVE_WALL_ROOM_V": nil, "LIVE_USER_MESSAGE": nil, "WEBSOCKET": nil, "WSFRAM": nil, "A_WEBSOCKET_B": nil,
		"websocket_a": nil, "wsframe-users": nil, "Wsframe": nil, // other keys in Redis
		"": ErrRoom, "a b": ErrRoom, "a\x00": ErrRoom, "\xff": ErrRoom, "%57EBSOCKET_": ErrRoom, strings.Repeat("r", 129): ErrRoom,
		"WEBSOCKET_": ErrReserved, "WEBSOCKET_FDINFO": ErrReserved, "WEBSOCKET_BUS:{s0}": ErrReserved, "WEBSOCKET_FdCloseSetKey_1": ErrReserved,
		"WEBSOCKET_OFFSET:{s0}:CHAT_ROOM_tech": ErrReserved, "WSFRAME": ErrReserved, "WSFRAME_LEAVING": ErrReserved, "WSFRAME:{n}:LEASE": ErrReserved,
		"LIVE_USER_MESSAGE_": ErrReserved, "LIVE_USER_MESSAGE_V": ErrReserved,
	} {
		if err := Room(name); !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", name, err, want)
		} else if errors.Is(err, ErrReserved) && !strings.Contains(err.Error(), name) {
			t.Errorf("%q is not in: %v", name, err)
		}
	}
}

// The exported patterns allow the same characters as the functions.
func TestPatterns(t *testing.T) {
	room, uid := regexp.MustCompile(RoomPattern), regexp.MustCompile(UIDPattern)
	for r := range rune(0x3000) {
		if got, want := Room(string(r)) == nil, room.MatchString(string(r)); got != want {
			t.Errorf("room %q: %v, the pattern says %v", r, got, want)
		}
		if got, want := UID(string(r)) == nil, uid.MatchString(string(r)); got != want {
			t.Errorf("uid %q: %v, the pattern says %v", r, got, want)
		}
	}
}

func TestReserve(t *testing.T) {
	for _, bad := range []string{"", "a b", "a*", strings.Repeat("r", 129)} {
		if err := Reserve(bad); !errors.Is(err, ErrRoom) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}
