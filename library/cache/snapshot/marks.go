package snapshot

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/alicebob/miniredis/v2/server"
)

// tracker is a set of keys that were written since the last take.
type tracker struct{ keys map[id]struct{} }

// marks tracks the keys that commands write. It is safe for concurrent use. Its lock is a leaf; a
// save acquires it under the server's.
type marks struct {
	mu       sync.Mutex
	trackers []*tracker              // the file's, and that of a running rewrite
	flying   map[*server.Peer]flight // running commands
	queued   map[*server.Peer][]id   // keys of open transactions
	watchers map[*server.Peer]bool   // connections that may WATCH a key
}

// flight is a running command, which may have changed its keys already.
type flight struct {
	keys  []id
	waits bool // a command like BLPOP, which changes nothing while it waits
}

func newMarks() *marks {
	return &marks{flying: map[*server.Peer]flight{}, queued: map[*server.Peer][]id{}, watchers: map[*server.Peer]bool{}}
}

// track adds a tracker.
func (m *marks) track() *tracker {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &tracker{map[id]struct{}{}}
	m.trackers = append(m.trackers, t)
	return t
}

func (m *marks) untrack(t *tracker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trackers = slices.DeleteFunc(m.trackers, func(o *tracker) bool { return o == t })
}

func (m *marks) add(keys []id) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addLocked(keys)
}

func (m *marks) addLocked(keys []id) {
	for _, t := range m.trackers {
		for _, k := range keys {
			t.keys[k] = struct{}{}
		}
	}
}

// putBack tracks keys again whose save has failed.
func (m *marks) putBack(t *tracker, keys []id) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		t.keys[k] = struct{}{}
	}
}

// take empties the tracker and returns its keys; nil, without a change, for at most few keys.
func (m *marks) take(t *tracker, few int) []id {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(t.keys) <= few {
		return nil
	}
	keys := make([]id, 0, len(t.keys))
	for k := range t.keys {
		keys = append(keys, k)
	}
	clear(t.keys)
	return keys
}

// running returns the keys of running commands, separately for waiting ones.
func (m *marks) running() (keys, waited []id) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.flying {
		if f.waits {
			waited = append(waited, f.keys...)
		} else {
			keys = append(keys, f.keys...)
		}
	}
	return keys, waited
}

func (m *marks) watched() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.watchers) > 0
}

// hook is miniredis' server.Hook. It runs before each command, also those of scripts, which run
// under the server's lock. When keys must be tracked after a command, hook runs the command itself.
func (s *Store) hook(c *server.Peer, cmd string, args ...string) bool {
	of := connectionOf(c)
	if of == nil {
		of = &connection{}
	}
	queueing := of.transaction != nil
	s.marks.noteWatch(c, cmd, queueing)
	if silent[cmd] || s.server.IsReadOnlyCommand(cmd) {
		return false
	}
	f := flight{waits: waiting[cmd]}
	if s.path != "" {
		f.keys = writes(cmd, args, of.selectedDB)
	}
	if of.nested {
		s.marks.add(s.everyKey(f.keys, false))
		return false
	}
	if !s.marks.begin(c, cmd, &f, queueing) {
		return false
	}
	if all := s.everyKey(f.keys, true); len(all) != len(f.keys) {
		f.keys = all
		s.marks.extend(c, f)
	}
	s.server.Dispatch(c, append([]string{cmd}, args...))
	s.marks.end(c, cmd, f)
	return true
}

// begin notes a command that starts. It reports false for a command that joins a transaction, that
// writes nothing, or that hook itself runs.
func (m *marks) begin(c *server.Peer, cmd string, f *flight, queueing bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, again := m.flying[c]; again {
		return false
	}
	switch {
	case cmd == "EXEC":
		f.keys = m.queued[c]
		delete(m.queued, c)
	case cmd == "DISCARD":
		delete(m.queued, c)
	case queueing:
		if _, known := m.queued[c]; !known {
			c.OnDisconnect(func() { m.mu.Lock(); delete(m.queued, c); m.mu.Unlock() })
		}
		m.queued[c] = append(m.queued[c], f.keys...)
		return false
	}
	if len(f.keys) == 0 && (cmd != "EXEC" || !m.watchers[c]) {
		return false
	}
	m.flying[c] = *f
	return true
}

func (m *marks) extend(c *server.Peer, f flight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flying[c] = f
}

func (m *marks) end(c *server.Peer, cmd string, f flight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.flying, c)
	m.addLocked(f.keys)
	if cmd == "EXEC" {
		delete(m.watchers, c)
	}
}

// noteWatch notes which connections watch keys, until the end of their EXEC, which compares
// versions.
func (m *marks) noteWatch(c *server.Peer, cmd string, queueing bool) {
	switch {
	case cmd == "WATCH":
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.watchers[c] {
			m.watchers[c] = true
			c.OnDisconnect(func() { m.mu.Lock(); delete(m.watchers, c); m.mu.Unlock() })
		}
	case cmd == "UNWATCH", cmd == "DISCARD" && queueing:
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, c)
	}
}

// everything is no database's number. It stands for the keys that FLUSHALL, FLUSHDB and SWAPDB do
// not name: all keys, or those of the two databases whose numbers are the key.
const everything = -1

// everyKey replaces everything by the existing keys, under the number of each database.
func (s *Store) everyKey(keys []id, lock bool) []id {
	if !slices.ContainsFunc(keys, func(k id) bool { return k.db == everything }) {
		return keys
	}
	if lock {
		s.m.Lock()
		defer s.m.Unlock()
	}
	var list []id
	numbers := map[int]bool{}
	for n := range databases(s.m) {
		numbers[n] = true
	}
	for _, k := range keys {
		if k.db != everything {
			list = append(list, k)
			continue
		}
		for text := range strings.FieldsSeq(k.key) {
			if n, err := strconv.Atoi(text); err == nil {
				numbers[n] = true
			}
		}
	}
	for _, d := range databases(s.m) {
		for key := range d.keys {
			for n := range numbers {
				list = append(list, id{n, key})
			}
		}
	}
	return list
}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

var (
	// silent write no key by themselves; what a script calls comes to the hook one by one.
	silent = set("AUTH ECHO HELLO PING QUIT SELECT CLIENT CLUSTER WAIT WAITAOF OBJECT SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE PUBLISH PUBSUB " +
		"EVAL EVALSHA EVAL_RO EVALSHA_RO SCRIPT COMMAND INFO TIME MEMORY MULTI WATCH UNWATCH XINFO")
	// waiting lists commands that may wait for writes of others.
	waiting = set("BLPOP BRPOP BRPOPLPUSH BLMOVE BLMPOP BZPOPMAX BZPOPMIN BZMPOP XREADGROUP")
	// single write their first argument only. Of others every argument counts as a key: what is
	// none costs a few bytes.
	single = set("EXPIRE EXPIREAT PERSIST PEXPIRE PEXPIREAT RESTORE GEOADD HDEL HINCRBY HINCRBYFLOAT HMSET HSET HSETNX HEXPIRE HPEXPIRE HEXPIREAT " +
		"HPEXPIREAT HPERSIST HSETEX HGETEX HGETDEL PFADD LINSERT LPOP LPUSH LPUSHX LREM LSET LTRIM RPOP RPUSH RPUSHX SADD SPOP SREM ZADD ZINCRBY ZREM " +
		"ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZPOPMAX ZPOPMIN XADD XACK XDEL XTRIM XAUTOCLAIM XCLAIM APPEND DECRBY DECR GETDEL GETEX " +
		"GETSET INCRBYFLOAT INCRBY INCR PSETEX SETBIT SETEX SET SETNX SETRANGE")
)

// writes returns the keys that a command may write.
func writes(cmd string, args []string, number int) []id {
	switch cmd {
	case "FLUSHALL", "FLUSHDB":
		return []id{{db: everything}}
	case "SWAPDB":
		return []id{{everything, strings.Join(args, " ")}}
	}
	if len(args) == 0 {
		return nil
	}
	if single[cmd] {
		return []id{{number, args[0]}}
	}
	numbers := []int{number}
	if cmd == "MOVE" || cmd == "COPY" { // one of the arguments may be the other database
		for _, a := range args {
			if n, err := strconv.Atoi(a); err == nil && n >= 0 && n != number {
				numbers = append(numbers, n)
			}
		}
	}
	var list []id
	for _, n := range numbers {
		for i, a := range args {
			if (cmd == "MSET" || cmd == "MSETNX") && i%2 == 1 {
				continue
			}
			list = append(list, id{n, a})
		}
	}
	return list
}
