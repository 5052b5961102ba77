package session

import (
	"encoding/json"
	"testing"

	"wsframe/framework/auth"
)

// Identities in Redis are those of encoding/json, byte by byte.
func TestIdentityJSON(t *testing.T) {
	texts := []string{"", "7", "小明", "a b", `"`, `\`, "<b>", "&", "\x00", "\n", "\x7f", "\xff", "a\u2028", "\u2029", "\ufffd", "😀", "é"}
	for _, s := range texts {
		for _, i := range []auth.Identity{
			{ID: s}, {Type: s, CTime: 1795741103}, {Code: s, CTime: -1}, {Nickname: s}, {ID: s, Type: s, Code: s, Nickname: s, CTime: 1<<63 - 1},
		} {
			want, err := json.Marshal(i)
			if got := identityJSON(i); err != nil || string(got) != string(want) {
				t.Errorf("%+v is %s, encoding/json says %s, %v", i, got, want, err)
			}
		}
	}
}

func BenchmarkIdentityJSON(b *testing.B) {
	i := auth.Identity{ID: "12345", Type: "wechatUser", Code: "10000", Nickname: "小明", CTime: 1795741103}
	b.ReportAllocs()
	for b.Loop() {
		identityJSON(i)
	}
}
