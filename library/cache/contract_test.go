package cache

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// This suite covers the commands that the framework and its applications use. embedded_test.go runs
// it against the embedded store, redis_test.go against a real Redis: both must answer the same.
var contract = []struct {
	name string
	test func(*testing.T, context.Context, redis.UniversalClient)
}{
	{"hash", testHash}, {"set", testSet}, {"scan", testScan}, {"counter", testCounter}, {"lock", testLock}, {"expiry", testExpiry},
	{"stream", testStream}, {"stream is capped", testStreamCap}, {"stream waits", testStreamWaits}, {"script", testScript},
	{"script expires", testScriptExpires}, {"pipeline", testPipeline}, {"transaction", testTransaction}, {"wrong type", testWrongType},
	{"bytes", testBytes}, {"flush", testFlush}, {"server", testServer},
}

func runContract(t *testing.T, o Options) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o.Timeout = 30 * time.Second // how fast it answers is not part of it
	c, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, tc := range contract {
		t.Run(tc.name, func(t *testing.T) {
			if err := c.FlushAll(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			tc.test(t, ctx, c)
		})
	}
}

// is fails the test unless a command returned that value.
func is[T any](t *testing.T, cmd interface{ Result() (T, error) }, want T) {
	t.Helper()
	if got, err := cmd.Result(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: got %v, %v, want %v", cmd, got, err, want)
	}
}

func isNil[T any](t *testing.T, cmd interface{ Result() (T, error) }) {
	t.Helper()
	if got, err := cmd.Result(); !errors.Is(err, redis.Nil) {
		t.Errorf("%v: got %v, %v, want nil", cmd, got, err)
	}
}

// eventually waits for an effect that Redis delays.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func testHash(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	is(t, c.HSet(ctx, "h", "1", `{"id":"小明"}`, "2", "b"), 2)
	is(t, c.HSet(ctx, "h", "2", "c"), 0)
	is(t, c.HGet(ctx, "h", "1"), `{"id":"小明"}`)
	isNil(t, c.HGet(ctx, "h", "3"))
	isNil(t, c.HGet(ctx, "missing", "3"))
	is(t, c.HMGet(ctx, "h", "2", "3"), []any{"c", nil})
	is(t, c.HGetAll(ctx, "h"), map[string]string{"1": `{"id":"小明"}`, "2": "c"})
	is(t, c.HGetAll(ctx, "missing"), map[string]string{})
	is(t, c.HExists(ctx, "h", "2"), true)
	is(t, c.HSetNX(ctx, "h", "2", "d"), false)
	is(t, c.HLen(ctx, "h"), 2)
	is(t, c.HDel(ctx, "h", "1", "3"), 1)
	is(t, c.HVals(ctx, "h"), []string{"c"})
	is(t, c.HKeys(ctx, "h"), []string{"2"})
	is(t, c.HIncrBy(ctx, "h", "n", 5), 5)
	is(t, c.HDel(ctx, "h", "2", "n"), 2)
	is(t, c.Exists(ctx, "h"), 0) // an empty hash is none
}

func testSet(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	is(t, c.SAdd(ctx, "s", 1, 2, 9007199254740991), 3)
	is(t, c.SAdd(ctx, "s", 1), 0)
	is(t, c.SCard(ctx, "s"), 3)
	is(t, c.SIsMember(ctx, "s", 2), true)
	is(t, c.SMIsMember(ctx, "s", 2, 3), []bool{true, false})
	is(t, c.SRem(ctx, "s", 2, 3), 1)
	got, err := c.SMembers(ctx, "s").Result()
	slices.Sort(got)
	if err != nil || !slices.Equal(got, []string{"1", "9007199254740991"}) {
		t.Errorf("SMEMBERS: %v, %v", got, err)
	}
	is(t, c.SRem(ctx, "s", 1, 9007199254740991), 2)
	is(t, c.Exists(ctx, "s"), 0) // an empty set is none
	is(t, c.SMembers(ctx, "s"), []string{})
	is(t, c.SRem(ctx, "missing", 1), 0)
}

// A scan returns every element that stays, while others change the key.
func testScan(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	const n = 3000
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range n {
			p.SAdd(ctx, "s", i)
			p.HSet(ctx, "h", i, "v")
			p.Set(ctx, fmt.Sprint("k:", i), "v", 0)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, page := range map[string]func(cursor uint64) ([]string, uint64, error){
		"SSCAN": func(cursor uint64) ([]string, uint64, error) { return c.SScan(ctx, "s", cursor, "", 512).Result() },
		"SCAN":  func(cursor uint64) ([]string, uint64, error) { return c.Scan(ctx, cursor, "k:*", 512).Result() },
		"HSCAN": func(cursor uint64) ([]string, uint64, error) {
			pairs, next, err := c.HScan(ctx, "h", cursor, "", 512).Result()
			var names []string
			for i := 0; i < len(pairs); i += 2 {
				names = append(names, pairs[i])
			}
			return names, next, err
		},
	} {
		seen := map[string]bool{}
		for cursor := uint64(0); ; {
			list, next, err := page(cursor)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, s := range list {
				seen[s] = true
			}
			if cursor = next; cursor == 0 {
				break
			}
			if name == "SSCAN" {
				is(t, c.SAdd(ctx, "s", fmt.Sprint("zz", cursor)), 1)
				delete(seen, fmt.Sprint("zz", cursor))
			}
		}
		for i := range n {
			if !seen[fmt.Sprint(i)] && !seen[fmt.Sprint("k:", i)] {
				t.Fatalf("%s has not given %d", name, i)
			}
		}
	}
	is(t, c.SAdd(ctx, "small", "a", "b"), 2)
	if list, next, err := c.SScan(ctx, "small", 0, "", 512).Result(); err != nil || next != 0 || len(list) != 2 {
		t.Errorf("SSCAN of a small set: %v, %d, %v", list, next, err)
	}
}

func testCounter(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	is(t, c.IncrBy(ctx, "n", 4096), 4096)
	is(t, c.Incr(ctx, "n"), 4097)
	is(t, c.DecrBy(ctx, "n", 97), 4000)
	is(t, c.Get(ctx, "n"), "4000")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := c.IncrBy(ctx, "n", 100).Err(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	is(t, c.Get(ctx, "n"), "6000")
	is(t, c.Set(ctx, "text", "x", 0), "OK")
	if err := c.Incr(ctx, "text").Err(); err == nil || !strings.Contains(err.Error(), "not an integer") {
		t.Errorf("INCR of a text: %v", err)
	}
}

func testLock(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	set := func(value string) *redis.StatusCmd {
		return c.SetArgs(ctx, "lock", value, redis.SetArgs{Mode: "NX", TTL: 300 * time.Millisecond})
	}
	is(t, set("a"), "OK")
	isNil(t, set("b"))
	is(t, c.Get(ctx, "lock"), "a")
	eventually(t, "the lock ends by itself", func() bool { return set("b").Err() == nil })
	is(t, c.Get(ctx, "lock"), "b")
	is(t, c.Del(ctx, "lock", "missing"), 1)
}

func testExpiry(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	is(t, c.Set(ctx, "k", "v", 0), "OK")
	is(t, c.PTTL(ctx, "k"), -1)
	is(t, c.PTTL(ctx, "missing"), -2)
	is(t, c.PExpire(ctx, "missing", time.Second), false)
	is(t, c.PExpire(ctx, "k", 15*time.Second), true)
	if d, err := c.PTTL(ctx, "k").Result(); err != nil || d <= 10*time.Second || d > 15*time.Second {
		t.Errorf("PTTL: %v, %v", d, err)
	}
	begun := time.Now()
	is(t, c.PExpire(ctx, "k", 400*time.Millisecond), true)
	is(t, c.HSet(ctx, "h", "a", "b"), 1)
	is(t, c.Expire(ctx, "h", time.Second), true)
	is(t, c.Exists(ctx, "k", "h"), 2)
	eventually(t, "k expires", func() bool { return c.Exists(ctx, "k").Val() == 0 })
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("k has lived for %v only", took)
	}
	is(t, c.Persist(ctx, "h"), true)
	is(t, c.PTTL(ctx, "h"), -1)
	is(t, c.Set(ctx, "k", "v", 5*time.Second), "OK")
	is(t, c.Set(ctx, "k", "w", 0), "OK") // takes the time to live away
	is(t, c.PTTL(ctx, "k"), -1)
	is(t, c.Set(ctx, "at", "v", 0), "OK")
	is(t, c.PExpireAt(ctx, "at", time.Now().Add(time.Minute)), true)
	if d := c.PTTL(ctx, "at").Val(); d < 50*time.Second || d > time.Minute {
		t.Errorf("PTTL after PEXPIREAT: %v", d)
	}
}

func values(list []redis.XMessage) (s []string) {
	for _, m := range list {
		s = append(s, fmt.Sprint(m.Values["v"]))
	}
	return s
}

func testStream(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	var ids []string
	for i := range 5 {
		id, err := c.XAdd(ctx, &redis.XAddArgs{Stream: "x", Values: []any{"v", i}}).Result()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if !slices.IsSortedFunc(ids, compareIDs) {
		t.Errorf("ids are not in order: %v", ids)
	}
	all, err := c.XRange(ctx, "x", "-", "+").Result()
	if err != nil || !slices.Equal(values(all), []string{"0", "1", "2", "3", "4"}) {
		t.Errorf("XRANGE: %v, %v", all, err)
	}
	after, err := c.XRange(ctx, "x", "("+ids[2], "+").Result()
	if err != nil || !slices.Equal(values(after), []string{"3", "4"}) {
		t.Errorf("XRANGE after the third: %v, %v", after, err)
	}
	last, err := c.XRevRangeN(ctx, "x", "+", "-", 1).Result()
	if err != nil || len(last) != 1 || last[0].ID != ids[4] {
		t.Errorf("XREVRANGE: %v, %v", last, err)
	}
	got, err := c.XRead(ctx, &redis.XReadArgs{Streams: []string{"x", ids[1]}, Count: 2, Block: -1}).Result()
	if err != nil || len(got) != 1 || got[0].Stream != "x" || !slices.Equal(values(got[0].Messages), []string{"2", "3"}) {
		t.Errorf("XREAD: %v, %v", got, err)
	}
	isNil(t, c.XRead(ctx, &redis.XReadArgs{Streams: []string{"x", ids[4]}, Block: -1}))
	isNil(t, c.XRead(ctx, &redis.XReadArgs{Streams: []string{"missing", "0"}, Block: -1}))
	is(t, c.XLen(ctx, "x"), 5)
	info, err := c.XInfoStream(ctx, "x").Result()
	if err != nil || info.Length != 5 {
		t.Errorf("XINFO STREAM: %+v, %v", info, err)
	}
	is(t, c.XDel(ctx, "x", ids[0]), 1)
	is(t, c.XLen(ctx, "x"), 4)
}

// compareIDs orders stream ids, milliseconds-number.
func compareIDs(a, b string) int {
	var am, an, bm, bn int64
	_, _ = fmt.Sscanf(a, "%d-%d", &am, &an) // 0 is before all
	_, _ = fmt.Sscanf(b, "%d-%d", &bm, &bn)
	if am != bm {
		return int(am - bm)
	}
	return int(an - bn)
}

func testStreamCap(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range 2000 {
			p.XAdd(ctx, &redis.XAddArgs{Stream: "x", MaxLen: 100, Approx: true, Values: []any{"v", i}})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.XLen(ctx, "x").Result()
	if err != nil || n < 100 || n > 300 { // Redis cuts by nodes of 100
		t.Errorf("%d entries, %v", n, err)
	}
	last, err := c.XRevRangeN(ctx, "x", "+", "-", 1).Result()
	if err != nil || !slices.Equal(values(last), []string{"1999"}) {
		t.Errorf("the last: %v, %v", last, err)
	}
	// One that reads from a position that was cut goes on at what is left.
	got, err := c.XRead(ctx, &redis.XReadArgs{Streams: []string{"x", "1-0"}, Count: 1, Block: -1}).Result()
	if err != nil || len(got) != 1 || len(got[0].Messages) != 1 {
		t.Errorf("XREAD: %v, %v", got, err)
	}
	if left, err := c.XTrimMaxLen(ctx, "x", 10).Result(); err != nil || left != n-10 {
		t.Errorf("XTRIM: %d, %v", left, err)
	}
}

func testStreamWaits(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	// Nothing comes: nil, in about the time given, and longer than the client's read timeout too.
	begun := time.Now()
	isNil(t, c.XRead(ctx, &redis.XReadArgs{Streams: []string{"x", "$"}, Block: 700 * time.Millisecond}))
	if took := time.Since(begun); took < 600*time.Millisecond || took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	// Several wait at once, from a known position; each gets each entry in order.
	var wg sync.WaitGroup
	const n = 200
	for range 3 {
		wg.Go(func() {
			for id, next := "0", 0; next < n; {
				got, err := c.XRead(ctx, &redis.XReadArgs{Streams: []string{"x", id}, Block: 5 * time.Second, Count: 64}).Result()
				if err != nil {
					t.Errorf("after %d entries: %v", next, err)
					return
				}
				for _, m := range got[0].Messages {
					if v := fmt.Sprint(m.Values["v"]); v != fmt.Sprint(next) {
						t.Errorf("got %s instead of %d", v, next)
						return
					}
					id, next = m.ID, next+1
				}
			}
		})
	}
	for i := range n {
		if err := c.XAdd(ctx, &redis.XAddArgs{Stream: "x", MaxLen: 10000, Approx: true, Values: []any{"v", i}}).Err(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	// Who waits is let go by its context, and does not hold up others.
	short, cancel := context.WithCancel(ctx)
	gone := make(chan error, 1)
	go func() {
		gone <- c.XRead(short, &redis.XReadArgs{Streams: []string{"y", "$"}, Block: time.Second}).Err()
	}()
	is(t, c.Set(ctx, "k", "v", 0), "OK")
	cancel()
	select {
	case err := <-gone:
		if err == nil {
			t.Error("an entry that nobody wrote")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it still waits")
	}
}

func testScript(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	release := redis.NewScript(`if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end return 0`)
	is(t, c.HSet(ctx, "uids", "u", "7"), 1)
	run := func(want int64, args ...any) {
		t.Helper()
		if got, err := release.Run(ctx, c, []string{"uids"}, args...).Int64(); err != nil || got != want {
			t.Errorf("%v: got %d, %v", args, got, err)
		}
	}
	run(0, "u", "8")
	run(0, "missing", "8")
	run(1, "u", "7")
	is(t, c.ScriptFlush(ctx), "OK")
	run(0, "u", "7") // NOSCRIPT is answered by sending it again
	sha, err := c.ScriptLoad(ctx, "return {ARGV[1], 2, false, 'x'}").Result()
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.EvalSha(ctx, sha, nil, "a").Slice()
	if err != nil || !reflect.DeepEqual(got, []any{"a", int64(2), nil, "x"}) {
		t.Errorf("EVALSHA: %#v, %v", got, err)
	}
	for _, text := range []string{
		`local v = tonumber(redis.call('GET', KEYS[1]) or '0') if v < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end return redis.call('GET', KEYS[1])`,
		`redis.call('SET', KEYS[1], '1') if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('INCRBY', KEYS[1], 8999) end return 'no'`,
	} {
		if got, err := c.Eval(ctx, text, []string{"n"}, "9000").Int64(); err != nil || got != 9000 {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	if err := c.Eval(ctx, `return redis.error_reply('MINE no')`, nil).Err(); err == nil || !strings.HasPrefix(err.Error(), "MINE") {
		t.Errorf("error_reply: %v", err)
	}
	if got, err := c.Eval(ctx, `local r = redis.pcall('INCR', KEYS[1]) return type(r) == 'table' and 'refused' or r`, []string{"uids2"}).Result(); err != nil || got != int64(1) {
		t.Errorf("pcall: %v, %v", got, err)
	}
	if got, err := c.Eval(ctx, `return cjson.decode(ARGV[1]).id`, nil, `{"id":"小明"}`).Text(); err != nil || got != "小明" {
		t.Errorf("cjson: %v, %v", got, err)
	}
}

func testScriptExpires(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	take := `if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end return 0`
	run := func() int64 { return c.Eval(ctx, take, []string{"lease"}, "me", 300).Val().(int64) }
	if run() != 1 || run() != 0 {
		t.Error("the lease is not exclusive")
	}
	eventually(t, "the lease ends", func() bool { return run() == 1 })
}

func testPipeline(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	cmds, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SAdd(ctx, "s", 1)
		p.Incr(ctx, "s") // wrong type: the others are done all the same
		p.HSet(ctx, "h", "a", "b")
		p.HGet(ctx, "h", "missing")
		p.Eval(ctx, "return 1", nil)
		return nil
	})
	if err == nil || len(cmds) != 5 || cmds[0].Err() != nil || cmds[1].Err() == nil || cmds[2].Err() != nil || !errors.Is(cmds[3].Err(), redis.Nil) || cmds[4].Err() != nil {
		t.Errorf("%v, %v", cmds, err)
	}
	is(t, c.HGet(ctx, "h", "a"), "b")
	var many []*redis.IntCmd
	_, err = c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for range 5000 {
			many = append(many, p.Incr(ctx, "n"))
		}
		return nil
	})
	if err != nil || many[4999].Val() != 5000 {
		t.Errorf("the last of 5000: %v, %v", many[4999], err)
	}
}

func testTransaction(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	cmds, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "k", "v", time.Minute)
		p.SAdd(ctx, "s", 1)
		return nil
	})
	if err != nil || len(cmds) != 2 {
		t.Errorf("%v, %v", cmds, err)
	}
	is(t, c.Get(ctx, "k"), "v")
	err = c.Watch(ctx, func(tx *redis.Tx) error {
		if err := c.Set(ctx, "k", "changed by another", 0).Err(); err != nil {
			return err
		}
		_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error { p.Set(ctx, "k", "mine", 0); return nil })
		return err
	}, "k")
	if !errors.Is(err, redis.TxFailedErr) {
		t.Errorf("WATCH: %v", err)
	}
	is(t, c.Get(ctx, "k"), "changed by another")
}

func testWrongType(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	is(t, c.Set(ctx, "k", "v", 0), "OK")
	for _, err := range []error{c.SAdd(ctx, "k", 1).Err(), c.HGet(ctx, "k", "f").Err(), c.SMembers(ctx, "k").Err(), c.XLen(ctx, "k").Err()} {
		if !redis.HasErrorPrefix(err, "WRONGTYPE") {
			t.Errorf("got %v", err)
		}
	}
	is(t, c.Type(ctx, "k"), "string")
}

func testBytes(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	is(t, c.HSet(ctx, "键 \r\n", string(all), string(all)), 1)
	is(t, c.HGet(ctx, "键 \r\n", string(all)), string(all))
	big := strings.Repeat("x", 4<<20)
	is(t, c.Set(ctx, "big", big, 0), "OK")
	if got := c.Get(ctx, "big").Val(); got != big {
		t.Errorf("%d bytes came back", len(got))
	}
	is(t, c.Set(ctx, "empty", "", 0), "OK")
	is(t, c.Get(ctx, "empty"), "")
}

func testFlush(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	is(t, c.SAdd(ctx, "s", 1), 1)
	is(t, c.DBSize(ctx), 1)
	is(t, c.FlushAll(ctx), "OK")
	is(t, c.DBSize(ctx), 0)
	is(t, c.Unlink(ctx, "s"), 0)
	is(t, c.SAdd(ctx, "s", 1), 1)
}

func testServer(t *testing.T, ctx context.Context, c redis.UniversalClient) {
	is(t, c.Ping(ctx), "PONG")
	now, err := c.Time(ctx).Result()
	if d := time.Since(now); err != nil || d > time.Minute || d < -time.Minute {
		t.Errorf("TIME: %v, %v", now, err)
	}
	is(t, c.SAdd(ctx, "room", 1), 1)
	is(t, c.Rename(ctx, "room", "room2"), "OK")
	is(t, c.LPush(ctx, "list", "a", "b"), 2)
	is(t, c.LRange(ctx, "list", 0, -1), []string{"b", "a"})
	is(t, c.ZAdd(ctx, "z", redis.Z{Score: 1, Member: "a"}), 1)
	is(t, c.ZRange(ctx, "z", 0, -1), []string{"a"})
}
