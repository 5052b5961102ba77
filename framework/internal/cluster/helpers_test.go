package cluster

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run is t.Run in a bubble.
func run(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { bubble(t, f) })
}

const patience = 2 * time.Minute // the end of every wait

type store struct {
	addr, password string
	dial           func(ctx context.Context, network, addr string) (net.Conn, error) // nil = by TCP
	stop, restart  func()
}

func (s *store) client(t testing.TB, hooks ...redis.Hook) redis.UniversalClient {
	c := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: []string{s.addr}, Password: s.password, MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true,
		DialTimeout: time.Second, DialerRetries: 1, Dialer: s.dial, PoolSize: 256,
	})
	for _, h := range hooks {
		c.AddHook(h)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// cluster returns a client that treats the server as a Redis Cluster of one master.
func (s *store) cluster(t testing.TB) redis.UniversalClient {
	c := redis.NewClusterClient(&redis.ClusterOptions{
		Password: s.password, Dialer: s.dial, MaxRetries: -1, MaxRedirects: -1, ContextTimeoutEnabled: true, DisableIdentity: true,
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
			return []redis.ClusterSlot{{End: 16383, Nodes: []redis.ClusterNode{{Addr: s.addr}}}}, nil
		},
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// conns is a node with the connections of its process.
type conns struct {
	t testing.TB
	n *Node

	mu      sync.Mutex
	m       map[int64]*Entry
	orphans map[int64]int
	deposed int
}

// worker starts a node. The end of the test kills it.
func worker(t testing.TB, c redis.UniversalClient, id string, change ...func(*Config)) *conns {
	t.Helper()
	w := &conns{t: t, m: map[int64]*Entry{}, orphans: map[int64]int{}}
	cfg := Config{
		Client: c, Prefix: "p:", NodeID: id, Place: "here", Assert: time.Hour, Log: zaptest.NewLogger(t).Named(id),
		Live: w.live, Alive: w.alive, State: w.state, Orphan: w.orphan, Deposed: w.depose,
	}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	if w.n, err = Start(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	w.n.Run()
	t.Cleanup(w.kill)
	return w
}

// leases makes them short, but long enough for a busy machine.
func leases(c *Config) {
	c.Lease, c.Refresh, c.Timeout = 1500*time.Millisecond, 100*time.Millisecond, 200*time.Millisecond
}

func reload(c *Config) { c.Reload = true }

func (w *conns) live(yield func(fd int64) bool) {
	w.mu.Lock()
	list := slices.Collect(maps.Keys(w.m))
	w.mu.Unlock()
	for _, fd := range list {
		if !yield(fd) {
			return
		}
	}
}

func (w *conns) state(fd int64) (Entry, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.m[fd]
	if e == nil {
		return Entry{}, false
	}
	c := *e
	c.Keys, c.Listeners = slices.Clone(e.Keys), slices.Clone(e.Listeners)
	return c, true
}

func (w *conns) alive(fd int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.m[fd] != nil
}

func (w *conns) orphan(_ context.Context, o Orphan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orphans[o.FD]++
	if len(o.Listeners) != 1 || o.Listeners[0] != "live.user" || !strings.Contains(string(o.Auth), "wechatUser") {
		w.t.Errorf("orphan %+v", o)
	}
}

func (w *conns) depose(int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deposed++
}

// open makes a connection of a user that is in a room and has a listener.
func (w *conns) open(uid, room string) int64 {
	w.t.Helper()
	fd, err := w.n.Numbers.NextFD()
	if err != nil {
		w.t.Fatal(err)
	}
	e := &Entry{FD: fd, Auth: fmt.Appendf(nil, `{"id":%q,"type":"wechatUser"}`, uid), UID: uid}
	w.mu.Lock()
	if w.m[fd] != nil {
		w.t.Errorf("fd %d given twice", fd)
	}
	w.m[fd] = e
	w.mu.Unlock()
	w.n.Bookkeeping.Opened(*e)
	w.mu.Lock()
	e.Listeners = []string{"live.user"}
	w.mu.Unlock()
	w.n.Bookkeeping.ListenerAdded(fd, "live.user")
	w.join(fd, room)
	return fd
}

func (w *conns) openMany(count int, room string) {
	for i := range count {
		w.open(fmt.Sprintf("%s-%s-u%d", w.n.c.id, room, i), room)
	}
}

func (w *conns) join(fd int64, room string) {
	w.mu.Lock()
	e := w.m[fd]
	fresh := e != nil && !slices.Contains(e.Keys, room)
	if fresh {
		e.Keys = append(slices.Clip(e.Keys), room)
	}
	w.mu.Unlock()
	if fresh {
		w.n.Bookkeeping.KeyAdded(fd, room)
	}
}

func (w *conns) leave(fd int64, room string) {
	w.mu.Lock()
	if e := w.m[fd]; e != nil {
		e.Keys = slices.DeleteFunc(slices.Clone(e.Keys), func(k string) bool { return k == room })
	}
	w.mu.Unlock()
	w.n.Bookkeeping.KeyRemoved(fd, room)
}

func (w *conns) close(fd int64) {
	w.mu.Lock()
	e := w.m[fd]
	delete(w.m, fd)
	w.mu.Unlock()
	w.n.Owners.Closed(*e)
}

func (w *conns) closeAll() {
	w.mu.Lock()
	fds := slices.Collect(maps.Keys(w.m))
	w.mu.Unlock()
	for _, fd := range fds {
		w.close(fd)
	}
}

func (w *conns) flush() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.n.Flush(ctx); err != nil {
		w.t.Fatal(err)
	}
}

func (w *conns) stop() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.n.Stop(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// kill ends the node as kill -9 does: it writes nothing more.
func (w *conns) kill() {
	w.n.life.stop()
}

// state returns the content of Redis as text, without the counter and most keys of members.
func state(t testing.TB, c redis.UniversalClient) string {
	t.Helper()
	var lines []string
	keys, err := c.Keys(t.Context(), "*").Result()
	if err != nil {
		return err.Error() // pooled connections from before an outage fail
	}
	for _, key := range keys {
		if strings.HasPrefix(key, "p:WSFRAME") && !strings.Contains(key, ":FDS") && !strings.Contains(key, ":CLAIM") && !strings.Contains(key, ":SWEEP") {
			continue
		}
		name := key
		if before, _, ok := strings.Cut(key, ":FDS"); ok {
			name = before + ":FDS" // whatever the incarnation
		}
		var value any
		switch kind := c.Type(t.Context(), key).Val(); kind {
		case "set":
			list := c.SMembers(t.Context(), key).Val()
			sort.Strings(list)
			value = list
		case "hash":
			value = c.HGetAll(t.Context(), key).Val()
		case "string":
			value = c.Get(t.Context(), key).Val()
		case "none":
			continue
		default:
			value = kind
		}
		lines = append(lines, fmt.Sprint(name, " ", value))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// want returns the state that Redis must have with these workers.
func want(workers ...*conns) string {
	sets, hashes := map[string][]string{}, map[string]map[string]string{}
	for _, w := range workers {
		w.live(func(number int64) bool {
			e, _ := w.state(number)
			fd := str(number)
			for _, key := range e.Keys {
				sets["p:"+key] = append(sets["p:"+key], fd)
			}
			if len(e.Keys) > 0 {
				sets["p:WEBSOCKET_FdCloseSetKey_"+fd] = e.Keys
			}
			if len(e.Listeners) > 0 {
				sets["p:WEBSOCKET_FdController_"+fd] = e.Listeners
			}
			own := "p:WSFRAME:{" + w.n.c.id + "}:FDS"
			sets[own] = append(sets[own], fd)
			for key, pair := range map[string][2]string{"p:WEBSOCKET_FDINFO": {fd, string(e.Auth)}, "p:WEBSOCKET_UIDTOFD": {e.UID, fd}} {
				if hashes[key] == nil {
					hashes[key] = map[string]string{}
				}
				hashes[key][pair[0]] = pair[1]
			}
			return true
		})
	}
	var lines []string
	for key, list := range sets {
		sort.Strings(list)
		lines = append(lines, fmt.Sprint(key, " ", list))
	}
	for key, m := range hashes {
		lines = append(lines, fmt.Sprint(key, " ", m))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// same waits until Redis has the state of these workers. Calls that timed out may be executed
// later.
func same(t testing.TB, c redis.UniversalClient, workers ...*conns) {
	t.Helper()
	for _, w := range workers {
		w.flush()
	}
	for end := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		got, want := state(t, c), want(workers...)
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("in Redis:\n%s\n\nwanted:\n%s", got, want)
		}
	}
}

// once checks that Orphan ran exactly once for each of the fds, in one of the workers.
func once(t testing.TB, fds []int64, workers ...*conns) {
	t.Helper()
	total := map[int64]int{}
	for _, w := range workers {
		w.mu.Lock()
		for fd, count := range w.orphans {
			total[fd] += count
		}
		w.mu.Unlock()
	}
	for _, fd := range fds {
		if total[fd] != 1 {
			t.Errorf("Orphan of %d ran %d times", fd, total[fd])
		}
		delete(total, fd)
	}
	if len(total) > 0 {
		t.Errorf("Orphan ran for %v", total)
	}
}

func (w *conns) fds() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.m))
}

// passing is a hook without effect, which the tests' hooks embed.
type passing struct{}

func (passing) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (passing) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (passing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// gate delays a client's commands, as in a frozen process.
type gate struct {
	passing
	mu   sync.Mutex
	shut chan struct{} // nil = open
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.shut)
	g.shut = nil
}

func (g *gate) pass() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		g.pass()
		return next(ctx, cmd)
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		g.pass()
		return next(ctx, cmds)
	}
}
