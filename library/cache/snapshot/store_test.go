package snapshot

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func TestRoundTrip(t *testing.T) {
	s := open(t, Config{Path: newPath(t)})
	if !s.found.Clean {
		t.Error("a first start is not clean")
	}
	s.fill()
	s.fillLarge()
	s.Do(ctx, "COPY", "s", "s", "DB", "3")
	s.save(t)
	s.Del(ctx, "s")
	s.HSet(ctx, "h", "new", "1")
	s.Rename(ctx, "l", "l2")
	s.SMove(ctx, "set", "moved", "a")
	s.MSet(ctx, "m1", "1", "m2", "2")
	s.save(t)
	after := s.kill(t)
	if after.found.Clean {
		t.Error("an end without a last save counts as clean")
	}
	compare(t, s.picture(t), after.picture(t))
	if v, _ := after.m.DB(3).Get("s"); v != "v" {
		t.Errorf("database 3 has %q", v)
	}
	// The group goes on where it was, and streams do not give an id twice.
	got := after.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "three", Streams: []string{"x", ">"}, Count: 1}).Val()
	if len(got) != 1 || got[0].Messages[0].ID != "8-1" {
		t.Errorf("the group reads %v", got)
	}
	if err := after.store.Close(); err != nil {
		t.Fatal(err)
	}
	if again := after.kill(t); !again.found.Clean || again.found.Damage != nil {
		t.Errorf("after a stop: %+v", again.found)
	}
}

// What any command that writes has done is in the next save.
func TestCommands(t *testing.T) {
	for _, line := range []string{
		"APPEND s x", "BITOP NOT s2 s", "BLMOVE l l2 LEFT RIGHT 1", "BLPOP l none 1", "BRPOP none l 1", "BRPOPLPUSH l l2 1", "BZMPOP 1 1 z MIN", "BZPOPMAX z 1",
		"BZPOPMIN none z 1", "COPY s s2", "COPY s s2 DB 1", "DECR n", "DECRBY n 2", "DEL s none h", "EXPIRE s 5000", "EXPIREAT s 9999999999", "FLUSHALL", "FLUSHDB",
		"GEOADD geo 13 38 Palermo", "GETDEL s", "GETEX s EX 5000", "GETSET s y", "HDEL h b", "HEXPIRE h 5000 FIELDS 1 b", "HINCRBY h n 1", "HINCRBYFLOAT h n 1.5",
		"HMSET h x 1 y 2", "HPERSIST h FIELDS 1 a", "HSET h x 1", "HSETNX h z 1", "INCR n", "INCRBY n 3", "INCRBYFLOAT n 1.5", "LINSERT l BEFORE a x", "LMOVE l l2 LEFT LEFT",
		"LMPOP 1 l LEFT", "LPOP l", "LPUSH l x", "LPUSHX l x", "LREM l 1 b", "LSET l 0 x", "LTRIM l 0 1", "MOVE s 1", "MSET s 1 s2 2", "MSETNX k1 1 k2 2", "PERSIST s:ttl",
		"PEXPIRE s 5000000", "PEXPIREAT s 9999999999000", "PFADD hll x", "PFMERGE hll2 hll", "PSETEX s 5000000 v", "RENAME s s2", "RENAMENX s s2", "RPOP l", "RPOPLPUSH l l2",
		"RPUSH l x", "RPUSHX l x", "SADD set x", "SDIFFSTORE set2 set", "SET s 2", "SETBIT s 1 1", "SETEX s 5000 v", "SETNX s3 1", "SETRANGE s 1 x", "SINTERSTORE set2 set",
		"SMOVE set set2 a", "SPOP set", "SREM set a", "SUNIONSTORE set2 set", "SWAPDB 0 1", "UNLINK s", "XACK x g 1-1", "XADD x 99-1 a b", "XADD x2 * a b",
		"XAUTOCLAIM x g two 0 0", "XCLAIM x g two 0 1-1", "XDEL x 1-1", "XGROUP CREATE x g2 $", "XGROUP DESTROY x g", "XGROUP CREATECONSUMER x g c", "XGROUP DELCONSUMER x g one",
		"XREADGROUP GROUP g c COUNT 1 STREAMS x >", "XTRIM x MAXLEN 2", "ZADD z 5 x", "ZINCRBY z 1 a", "ZINTERSTORE z2 1 z", "ZMPOP 1 z MIN", "ZPOPMAX z", "ZPOPMIN z",
		"ZREM z a", "ZREMRANGEBYLEX z - +", "ZREMRANGEBYRANK z 0 0", "ZREMRANGEBYSCORE z 0 2", "ZUNIONSTORE z2 1 z",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			s := open(t, Config{Path: newPath(t)})
			s.fill()
			s.Set(ctx, "n", 1, 0)
			s.save(t)
			args := []any{}
			for _, f := range strings.Fields(line) {
				args = append(args, f)
			}
			if err := s.Do(ctx, args...).Err(); err != nil {
				t.Fatal(err)
			}
			after := s.picture(t)
			s.save(t)
			read := s.kill(t)
			compare(t, after, read.picture(t))
			for n := range 2 {
				if want, have := s.m.DB(n).Keys(), read.m.DB(n).Keys(); !reflect.DeepEqual(want, have) {
					t.Errorf("database %d: %v, wanted %v", n, have, want)
				}
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	s := open(t, Config{Path: newPath(t)})
	s.Set(ctx, "soon", "1", time.Second)
	s.Set(ctx, "later", "1", time.Hour)
	s.HSet(ctx, "h", "f", "1", "g", "1")
	s.HExpire(ctx, "h", time.Second, "f")
	s.HSet(ctx, "gone", "f", "1")
	s.HExpire(ctx, "gone", time.Second, "f")
	s.save(t)
	s.store.tick(time.Second)
	check := func(s *running) {
		t.Helper()
		if keys := s.m.Keys(); !reflect.DeepEqual(keys, []string{"h", "later"}) {
			t.Error(keys)
		}
		if f := s.HKeys(ctx, "h").Val(); !reflect.DeepEqual(f, []string{"g"}) {
			t.Error(f)
		}
	}
	check(s)
	s.save(t)
	check(s.kill(t))
}

// Time passes while the server is down: a record holds points in time.
func TestExpiredWhileDown(t *testing.T) {
	s := open(t, Config{Path: newPath(t)})
	now := time.Now()
	for _, r := range []record{
		{id: id{0, "past"}, kind: 1, text: "1", deadline: now.Add(-time.Second).UnixMilli()},
		{id: id{0, "left"}, kind: 1, text: "1", deadline: now.Add(time.Hour).UnixMilli()},
		{id: id{0, "h"}, kind: 2, list: []string{"f", "1"}, fields: []fieldDeadline{{"f", now.Add(-time.Second).UnixMilli()}}},
	} {
		if err := s.store.restore(r, now); err != nil {
			t.Fatal(err)
		}
	}
	if keys := s.m.Keys(); !reflect.DeepEqual(keys, []string{"left"}) || s.m.TTL("left") > time.Hour {
		t.Error(keys, s.m.TTL("left"))
	}
}

// What a script or a transaction writes is there as a whole or not at all, whenever the server
// dies.
func TestAtomic(t *testing.T) {
	s := open(t, Config{Path: newPath(t)})
	script := redis.NewScript(`for i = 1, 5 do redis.call('SET', 'k' .. i, ARGV[1]) end
redis.call('XADD', 'hist', ARGV[1] .. '-1', 'a', 'b') redis.call('HSET', 'off', 'n', ARGV[1]) return 1`)
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 1; ctx.Err() == nil; n++ {
			script.Run(ctx, s, nil, n)
			_, _ = s.TxPipelined(ctx, func(p redis.Pipeliner) error {
				for i := range 5 {
					p.Set(ctx, fmt.Sprint("t", i), n, 0)
				}
				return nil
			})
			s.MSet(ctx, "m1", n, "m2", n, "m3", n)
		}
	}()
	for i := range 40 {
		if i%10 == 5 {
			if err := s.store.rewrite(frameCommit); err != nil {
				t.Fatal(err)
			}
		}
		s.save(t)
		c := readFile(s.store.path)
		get := func(key string) string {
			r, _ := parseRecord(c.records[id{0, key}])
			return r.text
		}
		for _, list := range []string{"k1 k2 k3 k4 k5", "t0 t1 t2 t3 t4", "m1 m2 m3"} {
			first, rest, _ := strings.Cut(list, " ")
			for key := range strings.FieldsSeq(rest) {
				if get(key) != get(first) {
					t.Fatalf("%s is %q, %s is %q", key, get(key), first, get(first))
				}
			}
		}
		if b := c.records[id{0, "hist"}]; b != nil {
			history, _ := parseRecord(b)
			offset, _ := parseRecord(c.records[id{0, "off"}])
			if history.stream.last != offset.list[1]+"-1" {
				t.Fatal(history.stream.last, offset.list)
			}
		}
	}
	stop()
	<-ended
	s.save(t)
	compare(t, s.picture(t), s.kill(t).picture(t))
}

// Each cut of a file leaves a state that was saved, or is damage; never a mixture of two.
func TestCut(t *testing.T) {
	s := open(t, Config{Path: newPath(t)})
	s.MSet(ctx, "a", "0", "b", "0")
	s.save(t)
	first, err := os.Stat(s.store.path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		s.MSet(ctx, "a", i+1, "b", i+1)
		s.save(t)
	}
	whole, err := os.ReadFile(s.store.path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	state := func(b []byte) content {
		c := parse(b)
		x, _ := parseRecord(c.records[id{0, "a"}])
		y, _ := parseRecord(c.records[id{0, "b"}])
		if x.text != y.text {
			t.Fatalf("a mixture of %q and %q", x.text, y.text)
		}
		if c.clean {
			t.Fatal("it counts as clean")
		}
		seen[x.text] = true
		return c
	}
	for n := range whole {
		if c := state(whole[:n]); c.damage != nil && n >= int(first.Size()) {
			t.Fatalf("a cut at %d of %d is damage: %v", n, len(whole), c.damage)
		}
	}
	if len(seen) != 5 { // none, 0 to 3
		t.Error(seen)
	}
	for n := range whole {
		b := append([]byte(nil), whole...)
		b[n] ^= 0x40
		if c := state(b); c.damage == nil {
			t.Fatalf("a changed byte %d of %d is not noticed", n, len(whole))
		}
	}
}

// A file that cannot be read is set aside, and what is whole of it is used.
func TestDamaged(t *testing.T) {
	s := open(t, Config{Path: newPath(t)})
	s.Set(ctx, "a", "1", 0)
	s.save(t)
	good, _ := os.ReadFile(s.store.path)
	s.Set(ctx, "b", "1", 0)
	s.save(t)
	whole, _ := os.ReadFile(s.store.path)
	for name, test := range map[string]struct {
		b    []byte
		keys []string
	}{
		"garbage":        {[]byte("garbage"), nil},
		"empty":          {nil, nil},
		"newer":          {[]byte("wsframe store 9\n"), nil},
		"a changed byte": {append(append([]byte(nil), whole[:len(whole)-2]...), 0, 0), []string{"a"}},
		"zeros":          {append(append([]byte(nil), good...), make([]byte, 4096)...), []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			if err := os.WriteFile(path, test.b, 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, Config{Path: path})
			if s.found.Damage == nil || s.found.Clean {
				t.Errorf("%+v", s.found)
			}
			if kept, _ := os.ReadFile(s.found.Aside); string(kept) != string(test.b) {
				t.Errorf("%q has not what the file had", s.found.Aside)
			}
			if keys := s.m.Keys(); len(keys) != len(test.keys) || len(keys) > 0 && !reflect.DeepEqual(keys, test.keys) {
				t.Error(keys)
			}
			if again := s.kill(t); again.found.Damage != nil {
				t.Error(again.found.Damage)
			}
		})
	}
}

// A server that dies while it writes a new file goes on with the old one.
func TestRewriteCut(t *testing.T) {
	path := newPath(t)
	s := open(t, Config{Path: path})
	s.Set(ctx, "a", "1", 0)
	s.save(t)
	if err := os.WriteFile(path+newFile, []byte(magic+"half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	if s := open(t, Config{Path: path}); s.Get(ctx, "a").Val() != "1" || !s.found.Clean {
		t.Errorf("%+v", s.found)
	}
}

// A command that waits costs nothing meanwhile, and what it takes at last is saved.
func TestBlocking(t *testing.T) {
	s := open(t, Config{Path: newPath(t)})
	got := make(chan []string)
	go func() { got <- s.BLPop(ctx, 0, "q").Val() }()
	eventually(t, "nobody waits", func() bool { _, waited := s.store.marks.running(); return len(waited) > 0 })
	s.save(t)
	before := s.store.size
	s.save(t)
	if s.store.size != before {
		t.Error("a save writes keys for which somebody waits")
	}
	s.RPush(ctx, "q", "x", "y")
	<-got
	s.save(t)
	if l := s.kill(t).LRange(ctx, "q", 0, -1).Val(); !reflect.DeepEqual(l, []string{"y"}) {
		t.Error(l)
	}
}

// FLUSHALL takes everything, in whatever moment of a save it comes.
func TestFlush(t *testing.T) {
	s := open(t, Config{Path: newPath(t)})
	for round := range 20 {
		p := s.Pipeline()
		for i := range 500 {
			p.Set(ctx, fmt.Sprint(round, "-", i), i, 0)
		}
		_, _ = p.Exec(ctx)
		ended := make(chan error, 2)
		go func() { ended <- s.store.rewrite(frameCommit) }()
		go func() { ended <- s.store.Save() }()
		_, err := s.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.FlushAll(ctx)
			p.Set(ctx, "after", round, 0)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}
		s.save(t)
		c := readFile(s.store.path)
		r, _ := parseRecord(c.records[id{0, "after"}])
		if len(c.records) != 1 || r.text != strconv.Itoa(round) {
			t.Fatalf("%d keys, %q", len(c.records), r.text)
		}
	}
}

// miniredis never forgets the version of a key that is gone.
func TestPrune(t *testing.T) {
	s := open(t, Config{})
	fill := func() {
		p := s.Pipeline()
		for i := range 2000 {
			k := fmt.Sprint("ONCE:", i)
			p.Set(ctx, k, "x", time.Hour)
			p.Del(ctx, k)
			p.SAdd(ctx, "set"+k, "x")
			p.SRem(ctx, "set"+k, "x")
		}
		_, _ = p.Exec(ctx)
	}
	left := func() int {
		s.store.prune()
		s.m.Lock()
		defer s.m.Unlock()
		d := databases(s.m)[0]
		return len(d.keyVersion) + len(d.lru)
	}
	fill()
	if n := left(); n > 0 {
		t.Errorf("%d are left", n)
	}
	// A transaction that watches a key fails when that was written and removed.
	err := s.Watch(ctx, func(tx *redis.Tx) error {
		s.Set(ctx, "k", 1, 0)
		s.Del(ctx, "k")
		fill()
		if left() == 0 {
			t.Error("versions are forgotten while somebody watches")
		}
		_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "done", 1, 0).Err() })
		return err
	}, "k")
	if err != redis.TxFailedErr {
		t.Errorf("the transaction ends with %v", err)
	}
	if n := left(); n > 0 {
		t.Errorf("%d are left after the transaction", n)
	}
}

// WAITAOF is for who has shown the password.
func TestBarrierAccess(t *testing.T) {
	m := miniredis.NewMiniRedis()
	m.RequireAuth("secret")
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	store, _, err := Open(m, Config{Path: newPath(t)})
	if err != nil {
		t.Fatal(err)
	}
	stranger := redis.NewClient(&redis.Options{Addr: m.Addr(), Protocol: 2})
	defer stranger.Close()
	size := store.size
	for _, command := range [][]any{{"WAITAOF", 1, 0, 0}, {"PING"}, {"SET", "k", "v"}, {"WAITAOF", 1, 0, 0}} {
		if err := stranger.Do(ctx, command...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
			t.Errorf("%v: %v", command, err)
		}
	}
	friend := redis.NewClient(&redis.Options{Addr: m.Addr(), Protocol: 2, Password: "secret"})
	defer friend.Close()
	friend.Set(ctx, "k", "v", 0)
	if v := friend.Do(ctx, "WAITAOF", 1, 0, 0).Val(); !reflect.DeepEqual(v, []any{int64(1), int64(0)}) || store.size == size {
		t.Errorf("%v, and %d bytes", v, store.size)
	}
	for _, script := range []string{`return redis.call('WAITAOF', 1, 0, 0)`} {
		if err := friend.Eval(ctx, script, nil).Err(); err == nil {
			t.Error("a script may wait for itself")
		}
	}
}
