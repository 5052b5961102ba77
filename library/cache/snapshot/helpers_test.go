package snapshot

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// running is a miniredis with a store, and a client of it.
type running struct {
	*redis.Client
	m     *miniredis.Miniredis
	store *Store
	found Found
}

func open(t testing.TB, c Config) *running {
	t.Helper()
	m := miniredis.NewMiniRedis()
	m.RequireAuth("secret")
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	store, found, err := Open(m, c)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: m.Addr(), Protocol: 2, Password: "secret", ReadTimeout: time.Minute})
	t.Cleanup(func() { client.Close() })
	return &running{client, m, store, found}
}

// kill copies what is on the disk now into a directory of its own, and opens it there.
func (s *running) kill(t testing.TB) *running {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store")
	b, err := os.ReadFile(s.store.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, Config{Path: path})
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "store") }

func (s *running) save(t testing.TB) {
	t.Helper()
	if err := s.store.Save(); err != nil {
		t.Fatal(err)
	}
}

// picture is all that a client can see, and the last ids of streams.
func (s *running) picture(t testing.TB) map[string]any {
	t.Helper()
	p := map[string]any{}
	for _, k := range s.m.Keys() {
		p[k] = []any{s.value(t, k), s.TTL(ctx, k).Val().Round(time.Minute)}
	}
	return p
}

func (s *running) value(t testing.TB, k string) any {
	switch kind := s.Type(ctx, k).Val(); kind {
	case "string":
		return s.Get(ctx, k).Val()
	case "hash":
		return []any{s.HGetAll(ctx, k).Val(), minutes(s.HTTL(ctx, k, "a", "b").Val())}
	case "list":
		return s.LRange(ctx, k, 0, -1).Val()
	case "set":
		return s.SMembers(ctx, k).Val()
	case "zset":
		return s.ZRangeWithScores(ctx, k, 0, -1).Val()
	case "hll":
		return s.PFCount(ctx, k).Val()
	case "stream":
		groups := s.XInfoGroups(ctx, k).Val()
		slices.SortFunc(groups, func(a, b redis.XInfoGroup) int { return strings.Compare(a.Name, b.Name) })
		pending := map[string]any{}
		for _, g := range groups {
			list := s.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: k, Group: g.Name, Start: "-", End: "+", Count: 100}).Val()
			for i := range list {
				list[i].Idle = 0
			}
			pending[g.Name] = list
		}
		s.m.Lock()
		defer s.m.Unlock()
		x := databases(s.m)[0].streamKeys[k]
		return []any{fmt.Sprintf("%q", x.entries), x.lastAllocatedID, groups, pending}
	default:
		t.Fatalf("%q is a %q", k, kind)
		return nil
	}
}

func minutes(seconds []int64) string {
	for i := range seconds {
		seconds[i] = (seconds[i] + 30) / 60
	}
	return fmt.Sprint(seconds)
}

func compare(t testing.TB, want, have map[string]any) {
	t.Helper()
	for k := range want {
		if !reflect.DeepEqual(want[k], have[k]) {
			t.Errorf("%.20q: %.300v, wanted %.300v", k, have[k], want[k])
		}
	}
	if len(have) != len(want) {
		t.Errorf("%d keys, wanted %d", len(have), len(want))
	}
}

var binary8 = string([]byte{0, 1, 255, '\r', '\n', 0, 128}) + "ü"

// fill writes keys of every kind.
func (s *running) fill() {
	s.Set(ctx, "s", "v", 0)
	s.Set(ctx, "s:empty", "", 0)
	s.Set(ctx, "s:"+binary8, binary8, 0)
	s.Set(ctx, "s:ttl", "1", time.Hour)
	s.HSet(ctx, "h", "a", "1", binary8, binary8, "", "")
	s.HExpire(ctx, "h", time.Hour, "a")
	s.RPush(ctx, "l", "b", "a", "", binary8, "b")
	s.SAdd(ctx, "set", "a", "", binary8)
	s.ZAdd(ctx, "z", redis.Z{Score: 1.5, Member: "a"}, redis.Z{Score: math.Inf(1), Member: binary8}, redis.Z{Score: -0.1, Member: ""}, redis.Z{Score: 1 << 53, Member: "n"})
	for i := range 10 {
		s.XAdd(ctx, &redis.XAddArgs{Stream: "x", ID: fmt.Sprintf("%d-1", i+1), Values: []any{"t", i, "b", binary8}})
	}
	s.XDel(ctx, "x", "3-1", "10-1")
	s.XGroupCreate(ctx, "x", "g", "0")
	s.XGroupCreateConsumer(ctx, "x", "g", "idle")
	s.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "one", Streams: []string{"x", ">"}, Count: 4})
	s.XAck(ctx, "x", "g", "2-1")
	s.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "two", Streams: []string{"x", ">"}, Count: 2})
	s.XGroupCreateMkStream(ctx, "x:none", "g", "$")
	s.XAdd(ctx, &redis.XAddArgs{Stream: "x:emptied", ID: "7-7", Values: []any{"a", "b"}})
	s.XDel(ctx, "x:emptied", "7-7")
	s.PFAdd(ctx, "hll", "a", "b", "c")
}

func (s *running) fillLarge() {
	s.Set(ctx, "s:mib", strings.Repeat("x\x00", 1<<19), 0)
	p := s.Pipeline()
	for i := range 700 {
		p.HSet(ctx, "big:h", i, binary8)
		p.SAdd(ctx, "big:s", i)
		p.RPush(ctx, "big:l", i)
		p.ZAdd(ctx, "big:z", redis.Z{Score: float64(i), Member: i})
		p.XAdd(ctx, &redis.XAddArgs{Stream: "big:x", ID: fmt.Sprintf("%d-1", i+1), Values: []any{"t", i, "b", binary8}})
	}
	_, _ = p.Exec(ctx)
}

// eventually fails only where a condition does not come true within a minute.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}
