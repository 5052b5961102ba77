package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	tokens, err := New(Config{Keys: []string{"0123456789abcdef"}, Accept3DES: true, Types3DES: []string{"*"}, TripleDESKey: v.Key, Lifetime: time.Hour, Now: func() time.Time { return at }})
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
		"duplicate":        seal(`{"id":"1","id":"2","type":"a","code":"","nickname":"","ctime":1700000100}`),
		"bad id":           seal(`{"id":"a b","type":"a","code":"","nickname":"","ctime":1700000100}`),
		"no ctime":         seal(`{"id":"1","type":"a","code":"","nickname":""}`),
		"object id":        seal(`{"id":{},"type":"a","code":"","nickname":"","ctime":1700000100}`),
		"list id":          seal(`{"id":["1"],"type":"a","code":"","nickname":"","ctime":1700000100}`),
		"null code":        seal(`{"id":"1","type":"a","code":null,"nickname":"","ctime":1700000100}`),
		"true code":        seal(`{"id":"1","type":"a","code":true,"nickname":"","ctime":1700000100}`),
		"number as type":   seal(`{"id":"1","type":1,"code":"","nickname":"","ctime":1700000100}`),
		"other spelling":   seal(`{"ID":"2","id":"1","type":"a","code":"","nickname":"","ctime":1700000100}`),
		"escaped double":   seal(`{"id":"1","\u0069d":"2","type":"a","code":"","nickname":"","ctime":1700000100}`),
		"escaped spelling": seal(`{"id":"1","type":"a","code":"","\u0043ODE":"b","ctime":1700000100}`),
		"no type":          seal(`{"id":"1","code":"","nickname":"","ctime":1700000100}`),
		"no code":          seal(`{"id":"1","type":"a","nickname":"","ctime":1700000100}`),
		"empty id":         seal(`{"id":"","type":"a","code":"","nickname":"","ctime":1700000100}`),
		"long id":          seal(`{"id":"` + strings.Repeat("a", 65) + `","type":"a","code":"","ctime":1700000100}`),
		"long code":        seal(`{"id":"1","type":"a","code":"` + strings.Repeat("a", 65) + `","ctime":1700000100}`),
		"long type":        seal(`{"id":"1","type":"` + strings.Repeat("a", 33) + `","code":"","ctime":1700000100}`),
		"long nickname":    seal(`{"id":"1","type":"a","code":"","nickname":"` + strings.Repeat("明", 129) + `","ctime":1700000100}`),
		"line end in id":   seal(`{"id":"1\n","type":"a","code":"","ctime":1700000100}`),
		"bad code":         seal(`{"id":"1","type":"a","code":"a*b","ctime":1700000100}`),
		"not UTF-8":        seal("{\"id\":\"1\",\"type\":\"a\",\"code\":\"\",\"nickname\":\"\xff\",\"ctime\":1700000100}"),
		"negative ctime":   seal(`{"id":"1","type":"a","code":"","ctime":-1}`),
		"empty ctime":      seal(`{"id":"1","type":"a","code":"","ctime":""}`),
		"far future":       seal(`{"id":"1","type":"a","code":"","ctime":9223372036854775807}`),
		"beyond 64 bits":   seal(`{"id":"1","type":"a","code":"","ctime":9223372036854775808}`),
		"line end":         token[:20] + "\n" + token[20:],
		"float":            seal(`{"id":"1","type":"a","code":"","nickname":"","ctime":1.7e9}`),
		"two":              seal(`{"id":"1","type":"a","code":"","nickname":"","ctime":1700000100}{}`),
	} {
		if id, err := rotated.Verify(bad); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: accepted as %+v, %v", name, id, err)
		}
	}
	for name, ok := range map[string]string{
		"just in time": ctime(-time.Hour), "small skew": ctime(20 * time.Second),
		"longest fields":        seal(`{"id":"` + strings.Repeat("a", 64) + `","type":"` + strings.Repeat("a", 32) + `","code":"` + strings.Repeat("a", 64) + `","nickname":"` + strings.Repeat("明", 128) + `","ctime":1700000100}`),
		"other fields, nested":  seal(` { "x" : [ {"id":"}]" } , "\\\"" ] , "id" : "1" , "x":{},"y":true,"z":null, "type":"a" ,"code":"","ctime":1700000100 } `),
		"numbers, other fields": seal(`{"id":7,"type":"a","code":1001,"ctime":"1700000100","role":"x"}`),
	} {
		if _, err := rotated.Verify(ok); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Without a lifetime, no token expires, but a ctime in the future is still refused.
func TestVerifyWithoutLifetime(t *testing.T) {
	tokens, err := New(Config{Keys: []string{"0123456789abcdef"}, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	for ctime, ok := range map[int64]bool{1: true, at.Unix() + 30: true, at.Unix() + 31: false, 1<<63 - 1: false, -1: false} {
		token, err := tokens.Issue(Identity{ID: "1", Type: "a", CTime: ctime})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tokens.Verify(token); (err == nil) != ok {
			t.Errorf("ctime %d: %v", ctime, err)
		}
	}
}

// The 3DES form accepts exactly the five fields and a valid ctime, because anybody can rearrange
// its blocks.
func TestTripleDESIsStrict(t *testing.T) {
	v := load(t)
	tokens := legacy(t, v)
	cipher, err := encrypt.NewTripleDES(v.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, plain := range map[string]string{
		"a sixth field":  `{"id":"1","type":"a","code":"","nickname":"","ctime":1700000000,"x":1}`,
		"no nickname":    `{"id":"1","type":"a","code":"","ctime":1700000000}`,
		"other spelling": `{"id":"1","type":"a","code":"","nickname":"","CTIME":1700000000}`,
		"double":         `{"id":"1","type":"a","code":"","nickname":"","ctime":1700000000,"id":"2"}`,
		"expired":        `{"id":"1","type":"a","code":"","nickname":"","ctime":1699990000}`,
		"future":         `{"id":"1","type":"a","code":"","nickname":"","ctime":1700000200}`,
		"not UTF-8":      "{\"id\":\"1\",\"type\":\"a\",\"code\":\"\",\"nickname\":\"\xff\",\"ctime\":1700000000}",
	} {
		if id, err := tokens.Verify(cipher.Seal([]byte(plain))); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: accepted as %+v, %v", name, id, err)
		}
	}
	if _, err := tokens.Verify(cipher.Seal([]byte(`{"id":"1","type":"a","code":"","nickname":"","ctime":1700000000}`))); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{Keys: []string{"0123456789abcdef"}, Accept3DES: true}); err == nil || !strings.Contains(err.Error(), "auth.key_3des") {
		t.Errorf("3DES without a key: %v", err)
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

// Simultaneous callers get the same key, and exactly one of them created it.
func TestKeyIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var wg sync.WaitGroup
	var makers atomic.Int32
	var keys [8]string
	for i := range keys {
		wg.Go(func() {
			key, created, err := LoadOrCreateKey(path)
			if err != nil {
				t.Error(err)
			}
			if keys[i] = key; created {
				makers.Add(1)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] {
			t.Fatalf("keys %q", keys)
		}
	}
	if makers.Load() != 1 {
		t.Fatalf("%d made the key", makers.Load())
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Fatalf("left behind: %v", left)
	}
	for name, bad := range map[string]string{"empty": "", "short": "0123456789abcdef\n"} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := LoadOrCreateKey(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s file: %v", name, err)
		}
	}
	if _, _, err := LoadOrCreateKey(filepath.Join(t.TempDir(), "none", "key")); err == nil {
		t.Error("no folder, no error")
	}
}

// FuzzParse compares parse with encoding/json: a plain decoder reads what parse accepts in the same
// way.
func FuzzParse(f *testing.F) {
	for _, r := range load(f).Tokens {
		f.Add([]byte(r.JSON), true)
		f.Add([]byte(strings.Replace(r.JSON, "{", `{"x":[{"id":"]"},"\""],`, 1)), false)
	}
	f.Fuzz(func(t *testing.T, plain []byte, strict bool) {
		id, err := parse(plain, strict)
		if err != nil {
			return
		}
		var want map[string]any
		d := json.NewDecoder(bytes.NewReader(plain))
		d.UseNumber()
		if err := d.Decode(&want); err != nil {
			t.Fatalf("%q: %v", plain, err)
		}
		if want["nickname"] == nil && !strict {
			want["nickname"] = ""
		}
		ctime, _ := strconv.ParseInt(fmt.Sprint(want["ctime"]), 10, 64)
		if got := (Identity{fmt.Sprint(want["id"]), fmt.Sprint(want["type"]), fmt.Sprint(want["code"]), fmt.Sprint(want["nickname"]), ctime}); got != id {
			t.Fatalf("%q: %+v, want %+v", plain, id, got)
		}
		if strict && len(want) != 5 {
			t.Fatalf("%q is accepted", plain)
		}
	})
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
