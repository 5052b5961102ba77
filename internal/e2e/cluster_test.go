//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wsframe/internal/testserver"
)

// With three nodes and a real Redis or Redis Cluster, everything reaches every member once and in
// the same order, also while a node reloads.
func TestNodes(t *testing.T) {
	onStores(t, func(t *testing.T, s *store) {
		n := startNodes(t, s, 3, nil)
		nodesOrder(t, n)
		nodesCalls(t, n)
		nodesRecovery(t, n)
		for i := range n.list {
			n.list[i].ok("-s", "stop")
		}
		if left := slices.DeleteFunc(n.keys(), func(key string) bool { return strings.Contains(key, "HISTORY") || strings.Contains(key, "OFFSET") }); len(left) > 0 {
			t.Errorf("left after all have stopped: %v", left)
		}
	})
}

func nodesOrder(t *testing.T, n *nodes) {
	var members []*member
	for i := range n.list {
		members = append(members, n.crowd(10, i, fmt.Sprint("order", i, "-"), "order")...)
	}
	x := n.speak("order", 300, 0)
	until(t, "a load", func() bool { return x.sent() > 1500 })
	out := n.list[1].ok("-s", "reload")
	if !strings.Contains(out, "11 connections moved, 0 drained") {
		t.Errorf("reload: %s", out)
	}
	before := x.sent()
	until(t, "a load", func() bool { return x.sent() > before+1500 })
	x.stop()
	x.check(members)
	for _, m := range members {
		if code, ended := m.closed(); ended {
			t.Errorf("a connection of node %d has ended with %d", m.node, code)
		}
		_ = m.nc.Close()
	}
}

func nodesCalls(t *testing.T, n *nodes) {
	a, b, c := n.member(0, "a", "calls"), n.member(1, "b", "calls"), n.member(2, "b", "calls")
	all := []*member{a, b, c}
	number := 0
	send := func(data map[string]any, to ...*member) {
		t.Helper()
		for _, from := range all {
			number++
			data["from"], data["number"] = 0, number
			from.must(t, "hall.send", data)
			want := note{0, number}
			for _, m := range to {
				until(t, fmt.Sprintf("%v to come to node %d", data, m.node), func() bool { return slices.Contains(m.notes(), want) })
			}
			for _, m := range all {
				if !slices.Contains(to, m) && slices.Contains(m.notes(), want) {
					t.Errorf("%v came to node %d", data, m.node)
				}
			}
		}
	}
	send(map[string]any{"to": b.fd}, b)
	send(map[string]any{"uid": "b"}, b, c)
	send(map[string]any{"room": "calls"}, a, b, c)
	send(map[string]any{}, a, b, c)
	a.must(t, "hall.bind", map[string]any{"to": c.fd, "uid": "team"})
	b.must(t, "hall.bind", map[string]any{"to": a.fd, "uid": "team"})
	send(map[string]any{"uid": "team"}, a, c)
	var reached int
	if b.must(t, "hall.reach", map[string]any{"uid": "team", "from": 0, "number": 1 << 20}, &reached); reached != 2 {
		t.Errorf("%d reached", reached)
	}
	a.must(t, "hall.leave", map[string]any{"to": c.fd, "room": "calls"})
	send(map[string]any{"room": "calls"}, a, b)
	b.must(t, "hall.join", map[string]any{"to": c.fd, "room": "calls"})
	send(map[string]any{"room": "calls"}, a, b, c)
	var members []int64
	a.must(t, "hall.members", map[string]any{"room": "calls", "limit": 10}, &members)
	want := []int64{a.fd, b.fd, c.fd}
	slices.Sort(want)
	if !slices.Equal(members, want) {
		t.Errorf("members %v, want %v", members, want)
	}

	c.must(t, "hall.remember", map[string]any{"values": map[string]any{"cart": []int{1, 2}}})
	b.must(t, "hall.remember", map[string]any{"to": c.fd, "values": map[string]any{"seen": "b"}})
	var session map[string]json.RawMessage
	a.must(t, "hall.session", map[string]any{"to": c.fd}, &session)
	if string(session["cart"]) != "[1,2]" || string(session["seen"]) != `"b"` {
		t.Errorf("session %s", session)
	}
	if err := a.call("hall.session", map[string]any{"to": c.fd + 1_000_000}); err == nil || !strings.Contains(err.Error(), "no such connection") {
		t.Errorf("unknown fd: %v", err)
	}

	number++
	a.must(t, "hall.send", map[string]any{"to": c.fd, "from": 0, "number": number})
	a.must(t, "hall.kick", map[string]any{"to": c.fd, "close": 4321})
	until(t, "the kicked one to end", func() bool { code, ended := c.closed(); return ended && code == 4321 })
	if !slices.Contains(c.notes(), note{0, number}) {
		t.Error("kicked before what was queued had come")
	}
	var kicked int
	if a.must(t, "hall.kick", map[string]any{"uid": "b"}, &kicked); kicked != 1 {
		t.Errorf("%d kicked", kicked)
	}
	until(t, "the kicked user to end", func() bool { code, ended := b.closed(); return ended && code == 4011 })
	until(t, "both to be live of and forgotten", func() bool {
		times, _ := n.closeCalls()
		return times[b.fd] == 1 && times[c.fd] == 1 && len(n.set("calls")) == 1
	})
	_ = a.nc.Close()
}

// A client reconnects repeatedly, each time to another node, while others send. Missed pushes
// arrive once and in order, whether the client uses the query or sys.recover. After a request that
// follows the join, they arrive after the live pushes.
func nodesRecovery(t *testing.T, n *nodes) {
	witness := n.member(0, "witness", "story")
	x := n.speak("story", 300, 10_000)
	rounds, missed := 9, 0
	if long {
		rounds = 60
	}
	var all []note
	next, epoch := int64(1), ""
	for i := range rounds {
		query := ""
		if epoch != "" && i%2 == 0 {
			query = fmt.Sprintf("&recover=story:%s:%d", epoch, next-1)
		}
		m, err := n.join(i%3, "wanderer", "", query)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case i%4 == 1: // before the join
			m.must(t, "sys.recover", map[string]any{"room": "story", "epoch": epoch, "offset": next - 1})
		case i%4 == 3: // after the join, among live pushes
			m.must(t, "hall.join", map[string]any{"room": "story"})
			m.must(t, "sys.recover", map[string]any{"room": "story", "epoch": epoch, "offset": next - 1})
		}
		m.must(t, "hall.join", map[string]any{"room": "story"})
		until(t, "the story to go on", func() bool { return m.count() > 60 })
		_ = m.nc.Close() // without a close frame
		<-m.ended
		before := x.sent()
		until(t, "the story to go on without it", func() bool { return x.sent() > before+60 })
		if epoch != "" {
			if m.mu.Lock(); i%4 != 3 {
				if len(m.recovered) != 1 || !m.recovered[0].Recovered {
					t.Fatalf("round %d: %+v", i, m.recovered)
				}
				missed += m.recovered[0].Count
			}
			m.mu.Unlock()
		}
		got := m.notes()
		if i%4 == 3 {
			behind := slices.Index(m.offsets, next) // among live pushes before the request
			if behind < 0 {
				t.Fatalf("round %d: offset %d did not come: %v", i, next, m.offsets)
			}
			live, missed := m.offsets[:behind], m.offsets[behind:]
			if behind > 0 {
				until := slices.Index(missed, live[0]-1) + 1
				if until == 0 {
					t.Fatalf("round %d: what was missed does not end before %d: %v", i, live[0], m.offsets)
				}
				m.offsets = slices.Concat(missed[:until], live, missed[until:])
				got = slices.Concat(got[behind:behind+until], got[:behind], got[behind+until:])
			}
		}
		for k, o := range m.offsets {
			if o != next && next > 1 || epoch != "" && m.epoch != epoch {
				t.Fatalf("round %d: offset %d in the place of %d, epoch %s after %s", i, o, next, m.epoch, epoch)
			}
			next = o + 1
			all = append(all, got[k])
		}
		epoch = m.epoch
	}
	x.stop()
	x.check([]*member{witness})
	live := witness.notes()
	first := slices.Index(live, all[0])
	if first < 0 || !slices.Equal(live[first:first+len(all)], all) {
		t.Errorf("the reconnecting client received other pushes than the witness, %d in all", len(all))
	}
	t.Logf("came back %d times: %d pushes, %d of them recovered, none lost, doubled or out of order", rounds-1, len(all), missed)
}

// A node is frozen until the bus has trimmed messages that it has not read. Its members receive
// them from the history, in order and once. If the history does not contain them either, the
// members are notified.
func TestNodeMissesPushes(t *testing.T) {
	t.Parallel()
	n := startNodes(t, oneRedis(t), 2, nil)
	late, witness := n.member(0, "late", "story"), n.member(1, "witness", "story")
	said := 0
	say := func(count, keep int) {
		t.Helper()
		for range count {
			said++
			witness.must(t, "hall.send", map[string]any{"room": "story", "from": 0, "number": said, "keep": keep})
		}
		until(t, "the witness to hear it", func() bool { return witness.count() == said })
	}
	say(5, 100)
	until(t, "both to hear it", func() bool { return late.count() == 5 })
	frozen := func(count, keep int) {
		t.Helper()
		worker := n.list[0].status().WorkerPID
		if err := syscall.Kill(worker, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		say(count, keep)
		streams, err := n.store.client.Keys(t.Context(), "t:WEBSOCKET_BUS:{s?}").Result()
		parts, err2 := n.store.client.Keys(t.Context(), "t:WEBSOCKET_BUS:{s?}:[0-9]*").Result()
		err = errors.Join(err, err2)
		for _, s := range append(streams, parts...) {
			err = errors.Join(err, n.store.client.XTrimMaxLen(t.Context(), s, 0).Err())
		}
		if err := errors.Join(err, syscall.Kill(worker, syscall.SIGCONT)); err != nil {
			t.Fatal(err)
		}
	}
	frozen(30, 100)
	say(5, 100)
	until(t, "all to come", func() bool { return late.count() == said })
	for i, o := range late.offsets {
		if o != int64(i+1) {
			t.Fatalf("offset %d in the place of %d", o, i+1)
		}
	}
	if late.mu.Lock(); len(late.recovered) != 0 || !slices.Equal(late.got, witness.notes()) {
		t.Errorf("%v, %v", late.recovered, late.got)
	}
	late.mu.Unlock()
	frozen(30, 3)
	say(3, 3)
	// The place of the notification counts: everything stored before it may be among the lost
	// pushes.
	until(t, "it to be live", func() bool { late.mu.Lock(); defer late.mu.Unlock(); return len(late.recovered) > 0 })
	say(1, 3)
	until(t, "the last to come", func() bool { k := late.notes(); return k[len(k)-1] == note{0, said} })
	late.mu.Lock()
	defer late.mu.Unlock()
	if len(late.recovered) != 1 || late.recovered[0].Recovered {
		t.Errorf("%+v", late.recovered)
	}
	select {
	case <-late.ended:
		t.Errorf("it has ended with %d", late.code)
	default:
	}
}

// An action publishes throughout a reload, on a node that is alone and on one of two nodes: first
// in the old worker, then through the new one. The order is kept.
func TestActionOutlivesReload(t *testing.T) {
	for name, s := range map[string]func(t *testing.T) *nodes{
		"alone": func(t *testing.T) *nodes { return startNodes(t, nil, 1, nil) },
		"two":   func(t *testing.T) *nodes { return startNodes(t, oneRedis(t), 2, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := s(t)
			var members []*member
			for i := range n.list {
				members = append(members, n.crowd(5, i, fmt.Sprint("m", i, "-"), "hall")...)
			}
			asking := n.member(0, "speaker", "")
			number := 0
			for range 4 {
				const count = 400
				done, err := asking.ask("hall.burst", map[string]any{"room": "hall", "from": 0, "number": number, "count": count, "pause": 1})
				if err != nil {
					t.Fatal(err)
				}
				before := members[0].count()
				until(t, "some of it", func() bool { return members[0].count() > before+50 })
				n.list[0].ok("-s", "reload")
				if _, err := asking.wait(done); err != nil {
					t.Fatal(err)
				}
				number += count
			}
			x := &speakers{t: t, list: []*speaker{{member: asking, sent: number}}}
			x.check(members)
		})
	}
}

// Redis is killed, frozen and emptied under load (promises R1, R2, R3), or is far away. Clients
// notice only delays.
func TestNodesWhileRedisIsInTrouble(t *testing.T) {
	t.Parallel()
	s := oneRedis(t)
	r := s.masters[0]
	proxy := testserver.StartProxy(t, r.Addr)
	n := startNodes(t, s, 3, func(i int) []string {
		if i == 2 { // this node has its own proxy
			return []string{proxy.Addr}
		}
		return s.addrs()
	})
	var members []*member
	for i := range n.list {
		members = append(members, n.crowd(20, i, fmt.Sprint("m", i, "-"), "hall")...)
	}
	load := func(what string, trouble func(x *speakers)) {
		t.Helper()
		t.Log(what)
		for _, m := range members {
			m.mu.Lock()
			m.got, m.offsets = nil, nil
			m.mu.Unlock()
		}
		x := n.speak("hall", 300, 0)
		until(t, "a load", func() bool { return x.sent() > 500 })
		trouble(x)
		before := x.sent()
		until(t, "a load", func() bool { return x.sent() > before+500 })
		x.stop()
		x.check(members)
		if slow := x.slowest(); slow > 2500*time.Millisecond { // a call that waits for Redis would take 5 s
			t.Errorf("somebody waited %v for an answer", slow)
		}
		for _, s := range x.list {
			_ = s.nc.Close()
		}
		for _, m := range members {
			if code, ended := m.closed(); ended {
				t.Fatalf("a connection of node %d has ended with %d", m.node, code)
			}
		}
	}
	load("Redis is killed for a second", func(*speakers) {
		r.Kill()
		time.Sleep(time.Second) // the outage
		r.Restart()
	})
	load("200 ms each way between one node and Redis", func(*speakers) {
		proxy.Delay(200 * time.Millisecond)
		defer proxy.Delay(0)
		time.Sleep(2 * time.Second) // duration of the outage
	})
	var gone []*member
	load("Redis is frozen for 5 s", func(*speakers) {
		r.Freeze()
		defer r.Thaw()
		for i := range n.list {
			for _, m := range n.crowd(10, i, fmt.Sprint("late", i, "-"), "late") {
				_ = m.nc.Close()
				gone = append(gone, m)
			}
		}
		time.Sleep(5 * time.Second) // the outage
	})
	until(t, "closes to be done", func() bool { return len(n.set("late")) == 0 })
	load("Redis is emptied", func(x *speakers) {
		x.emptied = true
		if err := s.client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	})
	begun := time.Now()
	complete := func() bool {
		info, err := s.client.HLen(t.Context(), "t:WEBSOCKET_FDINFO").Result()
		return err == nil && len(n.set("hall")) == len(members) && int(info) == len(members)
	}
	for !complete() {
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("an emptied Redis was not filled again: %d of %d in the room", len(n.set("hall")), len(members))
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("rebuilt %v after the load had ended", time.Since(begun).Round(time.Millisecond))
	times, _ := n.closeCalls()
	for _, m := range gone {
		if times[m.fd] != 1 {
			t.Errorf("the end of %d was live %d times", m.fd, times[m.fd])
		}
	}
	for _, m := range members {
		if times[m.fd] != 0 {
			t.Errorf("the end of %d was live, but it lives", m.fd)
		}
	}
}
