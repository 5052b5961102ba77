package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wsframe/library/encrypt"
)

type vectors struct {
	Key string
	Raw []struct {
		Plain string `json:"plain_base64"`
		Token string
	}
	Tokens []struct {
		JSON   string `json:"json"`
		Fields map[string]any
		Token  string
	}
	Refuse []struct{ Why, Token string }
}

func load(t testing.TB) (v vectors) {
	b, err := os.ReadFile("testdata/mswoole-auth.json")
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil || len(v.Raw) == 0 || len(v.Tokens) == 0 || len(v.Refuse) == 0 {
		t.Fatal(err, "vectors are missing")
	}
	return v
}

var at = time.Unix(1700000100, 0)

func legacy(t testing.TB, v vectors) *Tokens {
	tokens, err := New(Config{Keys: []string{"0123456789abcdef"}, Accept3DES: true, TripleDESKey: v.Key, Lifetime: time.Hour, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestTripleDESVectors(t *testing.T) {
	v := load(t)
	cipher, err := encrypt.NewTripleDES(v.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range v.Raw {
		plain, _ := base64.StdEncoding.DecodeString(r.Plain)
		if got := cipher.Seal(plain); got != r.Token {
			t.Errorf("seal %q: %s, want %s", plain, got, r.Token)
		}
		if got, err := cipher.Open(r.Token); err != nil || string(got) != string(plain) {
			t.Errorf("open %s: %q %v", r.Token, got, err)
		}
	}
	tokens := legacy(t, v)
	for _, r := range v.Tokens {
		id, err := tokens.Verify(r.Token)
		text := func(k string) string { return strings.Trim(jsonText(r.Fields[k]), `"`) }
		if err != nil || id.ID != text("id") || id.Code != text("code") || id.Type != text("type") || id.Nickname != r.Fields["nickname"] || id.CTime != 1700000000 {
			t.Errorf("%s: %+v %v", r.JSON, id, err)
		}
	}
	for _, r := range v.Refuse {
		if id, err := tokens.Verify(r.Token); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: accepted as %+v (%v)", r.Why, id, err)
		}
	}
}

func jsonText(v any) string { b, _ := json.Marshal(v); return string(b) }

func TestTripleDESOnlyWhereChosen(t *testing.T) {
	v := load(t)
	tokens, err := New(Config{Keys: []string{"0123456789abcdef"}, TripleDESKey: v.Key, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Verify(v.Tokens[0].Token); !errors.Is(err, ErrRefused) {
		t.Fatalf("accepted: %v", err)
	}
}

func TestVerify(t *testing.T) {
	const oldKey, newKey = "old-key-0123456789", "new-key-0123456789"
	make := func(keys ...string) *Tokens {
		tokens, err := New(Config{Keys: keys, Lifetime: time.Hour, Now: func() time.Time { return at }})
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}
	rotated := make(newKey, oldKey)
	good := Identity{ID: "7", Type: "wechatUser", Code: "A1", Nickname: "小明😀", CTime: at.Unix()}
	for _, tokens := range []*Tokens{make(oldKey), rotated} {
		token, err := tokens.Issue(good)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := rotated.Verify(token); err != nil || got != good {
			t.Fatalf("%+v %v", got, err)
		}
	}
	token, _ := rotated.Issue(good)
	seal := func(plain string) string {
		g, _ := encrypt.NewGCM(newKey)
		s, _ := g.Seal([]byte(plain))
		return s
	}
	ctime := func(d time.Duration) string {
		id := good
		id.CTime = at.Add(d).Unix()
		s, _ := rotated.Issue(id)
		return s
	}
	for name, bad := range map[string]string{
		"empty": "", "garbage": "!!!!", "no prefix": token[3:], "other version": "w2." + token[3:],
		"truncated": token[:len(token)-1], "longer": token + "A", "flipped": token[:10] + flip(token[10]) + token[11:],
		"huge": "w1." + strings.Repeat("A", 10_000), "only prefix": "w1.", "short": "w1.AAAA",
		"expired": ctime(-2 * time.Hour), "future": ctime(time.Hour),
		"not JSON": seal("x"), "list": seal("[]"), "no id": seal(`{"type":"a","code":"","nickname":"","ctime":1700000100}`),
		"duplicate": seal(`{"id":"1","id":"2","type":"a","code":"","nickname":"","ctime":1700000100}`),
		"bad id":    seal(`{"id":"a b","type":"a","code":"","nickname":"","ctime":1700000100}`),
		"no ctime":  seal(`{"id":"1","type":"a","code":"","nickname":""}`),
		"object id": seal(`{"id":{},"type":"a","code":"","nickname":"","ctime":1700000100}`),
		"float":     seal(`{"id":"1","type":"a","code":"","nickname":"","ctime":1.7e9}`),
		"two":       seal(`{"id":"1","type":"a","code":"","nickname":"","ctime":1700000100}{}`),
	} {
		if id, err := rotated.Verify(bad); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: accepted as %+v, %v", name, id, err)
		}
	}
	for name, ok := range map[string]string{
		"just in time": ctime(-time.Hour), "small skew": ctime(20 * time.Second),
		"numbers, other fields": seal(`{"id":7,"type":"a","code":1001,"ctime":"1700000100","role":"x"}`),
	} {
		if _, err := rotated.Verify(ok); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func TestKeys(t *testing.T) {
	for _, keys := range [][]string{{}, {""}, {"short"}, {"marico-websocket"}, {"0123456789abcdef", "short"}} {
		if _, err := New(Config{Keys: keys}); err == nil {
			t.Errorf("keys %q were accepted", keys)
		}
	}
	path := filepath.Join(t.TempDir(), "key")
	key, created, err := LoadOrCreateKey(path)
	if err != nil || !created || len(key) != 43 {
		t.Fatalf("%q %v %v", key, created, err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v", info.Mode())
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	again, created, err := LoadOrCreateKey(path)
	if info, _ := os.Stat(path); err != nil || created || again != key || info.Mode().Perm() != 0o600 {
		t.Fatalf("%q %v %v %v", again, created, err, info.Mode())
	}
}

func FuzzVerify(f *testing.F) {
	v := load(f)
	tokens := legacy(f, v)
	for _, r := range v.Tokens {
		f.Add(r.Token)
	}
	for _, r := range v.Refuse {
		f.Add(r.Token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if id, err := tokens.Verify(token); err == nil && id.Validate() != nil {
			t.Fatalf("%q gave %+v", token, id)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	tokens, _ := New(Config{Keys: []string{"0123456789abcdef"}})
	token, _ := tokens.Issue(Identity{ID: "7", Type: "wechatUser", Code: "1001", Nickname: "小明"})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tokens.Verify(token); err != nil {
			b.Fatal(err)
		}
	}
}
