//go:build e2e && unix

package bus

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/internal/testserver"
	"wsframe/library/cache"
)

// snapshots starts a Redis that writes its data on demand only.
func snapshots(t testing.TB) (*testserver.Redis, *detour, func(*Config)) {
	t.Helper()
	r := testserver.StartRedis(t, "--appendonly", "no")
	return r, &detour{addr: r.Addr}, func(c *Config) { c.Doubt = 2 * time.Second; quiet(c) }
}

// detour leads a client's connections to a server of the test's choice.
type detour struct {
	mu    sync.Mutex
	addr  string
	conns []net.Conn
}

func (d *detour) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		c, err := next(ctx, network, d.addr)
		if err == nil {
			d.conns = append(d.conns, c)
		}
		return c, err
	}
}

func (d *detour) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (d *detour) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (d *detour) lead(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addr = addr
	for _, c := range d.conns {
		_ = c.Close()
	}
	d.conns = nil
}

func to(t testing.TB, r *testserver.Redis, d *detour) redis.UniversalClient {
	t.Helper()
	c := open(t, cache.Options{Addrs: []string{r.Addr}, Password: r.Password}, d)
	id, err := c.Do(t.Context(), "CLIENT", "ID").Int64()
	if err == nil {
		err = c.Do(t.Context(), "CLIENT", "KILL", "ID", id, "SKIPME", "no").Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a connection by the detour", func() bool { return c.Ping(t.Context()).Err() == nil })
	return c
}

func direct(t testing.TB, r *testserver.Redis) redis.UniversalClient {
	return to(t, r, &detour{addr: r.Addr})
}

// save makes Redis write its data.
func save(t testing.TB, r *testserver.Redis) {
	t.Helper()
	c := direct(t, r)
	eventually(t, "a snapshot", func() bool { return c.Save(t.Context()).Err() == nil })
}

// some keeps messages in the room until the nodes have got all of them.
func some(n int, from *node, nodes ...*node) {
	from.t.Helper()
	have := make([]int, len(nodes))
	for i, o := range nodes {
		have[i] = o.count()
	}
	for i := range n {
		from.keep("r", fmt.Sprintf("%s %d", from.Token(), have[0]+i), 1000, time.Hour)
	}
	for i, o := range nodes {
		eventually(from.t, "messages", func() bool { return o.count() >= have[i]+n })
	}
}

// newest returns the room's newest position, as soon as Redis is trusted.
func newest(n *node) (p Page) {
	n.t.Helper()
	eventually(n.t, "the room's place", func() bool {
		var err error
		p, err = n.History(n.t.Context(), "r", 0, 1000)
		return err == nil
	})
	return p
}

// onceEach fails where one position stands for two messages.
func onceEach(t *testing.T, nodes ...*node) {
	t.Helper()
	what := map[string]string{}
	note := func(epoch string, offset int64, body []byte) {
		at := fmt.Sprint(epoch, " ", offset)
		if was, ok := what[at]; ok && was != string(body) {
			t.Errorf("position %s is of %q and of %q", at, was, body)
		}
		what[at] = string(body)
	}
	for _, n := range nodes {
		for _, m := range n.got() {
			note(m.Epoch, m.Offset, m.Body)
		}
	}
}

func follows(p Page, before Page) bool {
	_, ok := p.Follows(before.Epoch, before.Offset)
	return ok
}

// A Redis returns with older data, and nobody remains who would send the lost messages again. All
// positions end, also those from before the loss.
func TestOlderSnapshot(t *testing.T) {
	r, d, cfg := snapshots(t)
	a, b, c := join(t, to(t, r, d), cfg), join(t, to(t, r, d), cfg), join(t, to(t, r, d), cfg)
	some(3, a, a, b, c)
	three := newest(b)
	save(t, r)
	some(7, a, a, b, c)
	ten := newest(b)
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Kill()
	r.Restart()
	if p := newest(c); follows(p, three) || follows(p, ten) || p.Offset != 3 {
		t.Errorf("%+v goes on from %+v, %+v", p, three, ten)
	}
	some(12, b, b, c)
	onceEach(t, a, b, c)
	if p := newest(c); follows(p, three) || follows(p, ten) || p.Epoch != b.got()[21].Epoch || p.Offset != 15 {
		t.Errorf("%+v goes on from %+v, %+v", p, three, ten)
	}
}

// A Redis that is restarted without a loss keeps its epochs.
func TestNothingLost(t *testing.T) {
	r, d, cfg := snapshots(t)
	logged := testserver.StartRedis(t, "--appendfsync", "always")
	for name, one := range map[string]*testserver.Redis{"snapshot": r, "log": logged} {
		t.Run(name, func(t *testing.T) {
			d := d
			if one != r {
				d = &detour{addr: one.Addr}
			}
			long := func(c *Config) { cfg(c); c.Doubt = patience }
			a, b := join(t, to(t, one, d), long), join(t, to(t, one, d), long)
			some(5, a, a, b)
			before := newest(a)
			save(t, one)
			one.Kill()
			one.Restart()
			some(5, b, a, b)
			if p := newest(a); p.Epoch != before.Epoch || p.Offset != 10 || b.got()[9].Epoch != before.Epoch {
				t.Errorf("before %+v, after %+v", before, p)
			}
			onceEach(t, a, b)
		})
	}
}

// A node that ends together with Redis may have known more than the others: the epoch ends.
func TestNodeGoneWithRedis(t *testing.T) {
	r, d, cfg := snapshots(t)
	a, b := join(t, to(t, r, d), cfg), join(t, to(t, r, d), cfg)
	some(3, a, a, b)
	before := newest(b)
	save(t, r)
	if _, err := a.Suspend(t.Context()); err != nil { // it does not read again
		t.Fatal(err)
	}
	r.Kill()
	r.Restart()
	some(1, b, b)
	if p := newest(b); follows(p, before) {
		t.Errorf("%+v goes on from %+v", p, before)
	}
}

// A replica that has lagged is promoted. One node uses it while another one still writes to the old
// server.
func TestSplitBrain(t *testing.T) {
	r, d, cfg := snapshots(t)
	other := testserver.StartReplica(t, r)
	e := &detour{addr: r.Addr}
	a, b := join(t, to(t, r, d), cfg), join(t, to(t, r, e), cfg)
	some(3, a, a, b)
	before := newest(a)
	promoted := direct(t, other)
	eventually(t, "the replica to follow", func() bool {
		return promoted.HGet(t.Context(), b.shard("r").offset("r"), "offset").Val() == "3"
	})
	eventually(t, "the promotion", func() bool { return promoted.SlaveOf(t.Context(), "NO", "ONE").Err() == nil })
	e.lead(other.Addr)
	some(4, a, a)
	some(4, b, b)
	r.Kill()
	d.lead(other.Addr)
	some(4, a, a, b)
	onceEach(t, a, b)
	if p := newest(b); follows(p, before) {
		t.Errorf("%+v goes on from %+v", p, before)
	}
}

// A promoted replica that has everything keeps the epochs.
func TestPromotedReplica(t *testing.T) {
	r, d, cfg := snapshots(t)
	other := testserver.StartReplica(t, r)
	long := func(c *Config) { cfg(c); c.Doubt = patience }
	a, b := join(t, to(t, r, d), long), join(t, to(t, r, d), long)
	some(3, a, a, b)
	before := newest(a)
	promoted := direct(t, other)
	eventually(t, "the replica to follow", func() bool {
		return promoted.HGet(t.Context(), b.shard("r").offset("r"), "offset").Val() == "3"
	})
	r.Kill()
	eventually(t, "the promotion", func() bool { return promoted.SlaveOf(t.Context(), "NO", "ONE").Err() == nil })
	d.lead(other.Addr)
	some(3, b, a, b)
	if p := newest(a); p.Epoch != before.Epoch || p.Offset != 6 {
		t.Errorf("before %+v, after %+v", before, p)
	}
	onceEach(t, a, b)
}
