package auth

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

// spliced forges a wall's token from the tokens of two WeChat users, without the key, by moving
// blocks of ECB.
func spliced(t *testing.T, tokens *Tokens) string {
	t.Helper()
	alphabet := strings.NewReplacer("*", "+", ":", "/", "_", "=")
	blocks := func(id Identity) []byte {
		token, err := tokens.Issue3DES(id)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := base64.StdEncoding.DecodeString(alphabet.Replace(token))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	first := blocks(Identity{ID: "7", Type: "wechatUser", Code: "ROOM", Nickname: "n"})
	second := blocks(Identity{ID: "abc", Type: "wechatUser", Code: "ROOM", Nickname: "wall"})
	// {"id":"7","type" | :"wall", of the nickname | "code":"ROOM","nickname":"wall","ctime":…}
	raw := append(append(append([]byte(nil), first[:16]...), second[56:64]...), second[32:]...)
	return strings.NewReplacer("+", "*", "/", ":", "=", "_").Replace(base64.StdEncoding.EncodeToString(raw))
}

// A forged token of a wall is refused, because only the listed types may use 3DES.
func TestSplicedWall(t *testing.T) {
	keys := Config{Keys: []string{"0123456789abcdef"}, Accept3DES: true, TripleDESKey: "marico-websocket", Lifetime: time.Hour}
	tokens, err := New(keys)
	if err != nil {
		t.Fatal(err)
	}
	forged := spliced(t, tokens)
	if id, err := tokens.Verify(forged); err == nil {
		t.Errorf("a forged wall came in: %+v", id)
	}
	for _, kind := range []string{"wall", "Wechatuser", "guest", "*"} {
		if token, err := tokens.Issue3DES(Identity{ID: "1", Type: kind}); err == nil {
			t.Errorf("a 3DES token of the type %s was issued: %s", kind, token)
		}
	}
	// With walls in the list, the forged token is accepted, as the README warns.
	for _, types := range [][]string{{"wechatUser", "wall"}, {"*"}} {
		keys.Types3DES = types
		tokens, err := New(keys)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := tokens.Verify(forged); err != nil || id.Type != "wall" || id.ID != "7" || id.Code != "ROOM" {
			t.Errorf("types %v: %+v, %v", types, id, err)
		}
	}
}
