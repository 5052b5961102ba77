package names

import (
	"errors"
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"a": "a", "CHAT_7": "CHAT_7", "群聊": "群聊", "a b": "a%20b", "100%": "100%25", "\x00\xff": "%00%FF", "/": "%2F",
		"WSFRAME_x": "%57SFRAME_x", "WEBSOCKET_A": "%57EBSOCKET_A", "é": "é", "\u200b": "%E2%80%8B", "%41": "%2541", "": "",
	} {
		got := EscapeRoom(text)
		if got != want || Unescape(got) != text {
			t.Errorf("%q: %q, back %q", text, got, Unescape(got))
		}
		if got != text && Room(got) == nil {
			t.Errorf("%q is the name of another room, too", got)
		}
	}
	if got := EscapeUID("a/b=|*c d"); got != "a/b=|*c%20d" || Unescape(got) != "a/b=|*c d" {
		t.Error(got)
	}
	if got := Unescape("%4"); got != "%4" {
		t.Error(got)
	}
}

func TestAnyUID(t *testing.T) {
	for uid, ok := range map[string]bool{
		"7": true, "用": true, EscapeUID("用😀"): true, "a%20b": true, EscapeUID(strings.Repeat("😀", MaxUID)): true,
		"": false, "a b": false, "100%": false, "a%2": false, "%41": false, "a%2fb": false, strings.Repeat("x", MaxUID+1): false, EscapeUID(strings.Repeat("😀", MaxUID+1)): false,
	} {
		if err := AnyUID(uid); (err == nil) != ok || err != nil && !errors.Is(err, ErrUID) {
			t.Errorf("%q: %v", uid, err)
		}
	}
}

// Every text comes back, and two texts have two names.
func FuzzEscape(f *testing.F) {
	f.Add("WSFRAME", "%57SFRAME")
	f.Fuzz(func(t *testing.T, a, b string) {
		if Unescape(EscapeRoom(a)) != a || Unescape(EscapeUID(a)) != a {
			t.Errorf("%q", a)
		}
		if a != b && (EscapeRoom(a) == EscapeRoom(b) || EscapeUID(a) == EscapeUID(b)) {
			t.Errorf("%q and %q", a, b)
		}
	})
}
