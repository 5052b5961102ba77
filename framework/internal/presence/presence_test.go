package presence_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"wsframe/framework/auth"
	"wsframe/framework/bus"
	"wsframe/framework/frame"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/nodetest"
	"wsframe/framework/internal/presence"
	"wsframe/framework/internal/session"
)

var errAway = errors.New("redis is away")

// redis is what all nodes have in common: who is in the rooms, and who may have left.
type redis struct {
	mu      sync.Mutex
	present map[string]bool
	leaving []cluster.Present
	away    bool
	gate    chan struct{} // non-nil: Came answers when it is closed
	batches []int         // sizes of the calls of Came
	departs int           // calls of Depart
	perCall int           // that many at most leave in one call
}

func newRedis() *redis { return &redis{present: map[string]bool{}, perCall: 2} }

// addLeaving notes a user of another node who may have left the room R.
func (r *redis) addLeaving(uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.present["R "+uid] = true
	r.leaving = append(r.leaving, cluster.Present{Room: "R", ID: uid, Nickname: "n" + uid})
}

func (r *redis) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *redis) Came(ctx context.Context, list []cluster.Present) ([]bool, error) {
	r.mu.Lock()
	r.batches = append(r.batches, len(list))
	gate := r.gate
	r.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away {
		return nil, errAway
	}
	fresh := make([]bool, len(list))
	for i, p := range list {
		key := p.Room + " " + p.ID
		fresh[i] = !r.present[key]
		r.present[key] = true
	}
	return fresh, nil
}

func (r *redis) Leaving(p cluster.Present, _ bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaving = append(r.leaving, p)
}

func (r *redis) Depart(ctx context.Context, here func(context.Context, []cluster.Present) ([]bool, error), left func(cluster.Present)) (bool, error) {
	r.mu.Lock()
	r.departs++
	due := slices.Clone(r.leaving[:min(len(r.leaving), r.perCall)])
	away := r.away
	r.mu.Unlock()
	if away {
		return false, errAway
	}
	if len(due) == 0 {
		return false, nil
	}
	there, err := here(ctx, due)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	r.leaving = r.leaving[len(due):]
	more := len(r.leaving) > 0
	r.mu.Unlock()
	for i, p := range due {
		was := false
		r.set(func() { was = r.present[p.Room+" "+p.ID] })
		if was && !there[i] {
			r.set(func() { delete(r.present, p.Room+" "+p.ID) })
			left(p)
		}
	}
	return more, nil
}

// node is a node with sessions, and a presence that runs.
type node struct {
	*presence.Presence
	*nodetest.Node
	hub      *nodetest.Hub
	sessions *session.Sessions
	redis    *redis
	logs     *observer.ObservedLogs

	mu    sync.Mutex
	phase link.Phase
	said  []string
}

func (n *node) Phase() link.Phase {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.phase
}

func (n *node) setPhase(p link.Phase) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.phase = p
}

func (n *node) publish(room string, r *frame.Reply) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	b, err := frame.AppendReply(nil, r, nil)
	_, param, _ := strings.Cut(string(b), `"param":`)
	n.said = append(n.said, fmt.Sprint(room, " ", r.Event, " ", strings.TrimSuffix(param, "}")))
	return err
}

// noLink is a history's and a session's way to the others, of whom they want nothing here.
type noLink struct{}

func (noLink) Send(*bus.Message) error { return nil }
func (noLink) History(context.Context, string, int64, int) (bus.Page, error) {
	return bus.Page{}, errAway
}

// journal is where sessions note changes.
type journal struct{ *redis }

func (journal) KeyAdded(int64, string)        {}
func (journal) KeyRemoved(int64, string)      {}
func (journal) CloseKeyAdded(int64, string)   {}
func (journal) CloseKeyRemoved(int64, string) {}
func (journal) ListenerAdded(int64, string)   {}
func (journal) ListenerRemoved(int64, string) {}

func newNode(t *testing.T, b *nodetest.Bus, r *redis, id string, rooms ...string) *node {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	n := &node{Node: b.Node(id), hub: nodetest.NewHub(t, hub.Config{IdleTimeout: time.Hour, RoomsPerConn: 10_000}), redis: r, logs: logs, phase: link.Serving}
	var err error
	n.Presence, err = presence.New(presence.Config{
		Rooms: rooms, Hub: func() *hub.Hub { return n.hub.Hub }, Nodes: n.Nodes, Link: n,
		Cluster: func() presence.Cluster { return r }, Publish: n.publish, Log: zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := history.New(history.Config{Link: noLink{}, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	h.Serve(t.Context(), n.hub.Rooms)
	n.sessions = session.NewSessions(session.Config{
		Hub: n.hub.Hub, Nodes: n.Nodes, History: h, Link: noLink{}, Cluster: func() session.Cluster { return journal{r} }, Presence: n.Presence, Leaving: r.Leaving,
		SecondLogin: "allow", Life: t.Context(), Log: zap.NewNop(),
	})
	n.hub.Ended = func(c *hub.Conn, _ int, _ string, rooms []string) { n.sessions.Ended(c, rooms, true) }
	go n.Run()
	t.Cleanup(n.Presence.Close)
	return n
}

func (n *node) connect(t *testing.T, fd int64, uid string) *nodetest.Conn {
	t.Helper()
	c := n.hub.Connect(fd, auth.Identity{ID: uid, Nickname: "n" + uid}, session.New(nil))
	if _, err := c.Bind(uid); err != nil {
		t.Fatal(err)
	}
	return c
}

func (n *node) join(t *testing.T, c *nodetest.Conn, room string) {
	t.Helper()
	if err := n.sessions.Join(t.Context(), c.Conn, room, session.Joining{Announce: true}); err != nil {
		t.Fatal(err)
	}
}

// comes connects a user who joins the room R.
func (n *node) comes(t *testing.T, fd int64, uid string) *nodetest.Conn {
	t.Helper()
	c := n.connect(t, fd, uid)
	n.join(t, c, "R")
	return c
}

// want checks what was announced since the last want, in that order.
func (n *node) want(t *testing.T, said ...string) {
	t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.said, said) {
		t.Errorf("announced %q, want %q", n.said, said)
	}
	n.said = nil
}

// sort puts what was announced in an order, where there is none.
func (n *node) sort() {
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(n.said)
}

func joined(uid string) string {
	return fmt.Sprintf(`R roomJoin {"room":"R","id":%q,"nickname":"n%s"}`, uid, uid)
}

func left(uid string) string {
	return fmt.Sprintf(`R roomLeave {"room":"R","id":%q,"nickname":"n%s"}`, uid, uid)
}

// A user is announced once, whatever the number of his connections and nodes, in the order of the
// joins.
func TestUserCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r := nodetest.NewBus(), newRedis()
		here, there := newNode(t, b, r, "n1"), newNode(t, b, r, "n2")
		here.comes(t, 1, "a")
		here.comes(t, 2, "b")
		here.comes(t, 3, "a")
		here.want(t, joined("a"), joined("b"))
		there.comes(t, 4, "a")
		there.comes(t, 5, "c")
		there.want(t, joined("c"))
		here.want(t)
	})
}

// A join that does not ask for it is not announced, unless the configuration names the room. A
// connection without a uid never is.
func TestWhoIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), newRedis(), "n1", "VIP", "CHAT_*")
		c := n.connect(t, 1, "a")
		for _, room := range []string{"R", "VIP", "VIP2", "CHAT_1"} {
			if err := n.sessions.Join(t.Context(), c.Conn, room, session.Joining{}); err != nil {
				t.Fatal(err)
			}
		}
		n.want(t, `VIP roomJoin {"room":"VIP","id":"a","nickname":"na"}`, `CHAT_1 roomJoin {"room":"CHAT_1","id":"a","nickname":"na"}`)
		c.Vanish()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		n.sort()
		n.want(t, `CHAT_1 roomLeave {"room":"CHAT_1","id":"a","nickname":"na"}`, `VIP roomLeave {"room":"VIP","id":"a","nickname":"na"}`)
		n.join(t, n.hub.Connect(9, auth.Identity{ID: "b"}, session.New(nil)), "R") // not bound
		n.want(t)
	})
}

// A pattern that nothing can match is refused by name.
func TestPatterns(t *testing.T) {
	for pattern, wrong := range map[string]string{"": "cannot be read", "[": "cannot be read", "WSFRAME_X*": "reserved"} {
		b := nodetest.NewBus()
		_, err := presence.New(presence.Config{Rooms: []string{"OK", pattern}, Nodes: b.Node("n1").Nodes})
		if err == nil || !strings.Contains(err.Error(), "presence.rooms") || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

// Joins that come while Redis is slow leave together, in bounded calls.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRedis()
		n := newNode(t, nodetest.NewBus(), r, "n1")
		gate := make(chan struct{})
		r.set(func() { r.gate = gate })
		var want []string
		for i := range 100 {
			n.comes(t, int64(i+1), fmt.Sprint(i))
			want = append(want, joined(fmt.Sprint(i)))
			if i == 0 {
				synctest.Wait()
			}
		}
		close(gate)
		n.want(t, want...)
		r.set(func() {
			if !slices.Equal(r.batches, []int{1, 64, 35}) {
				t.Errorf("calls of %v", r.batches)
			}
		})
	})
}

// While Redis does not answer nothing is announced, then everything once. The log says it once.
func TestJoinWithoutRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRedis()
		n := newNode(t, nodetest.NewBus(), r, "n1")
		r.set(func() { r.away = true })
		n.comes(t, 1, "a")
		time.Sleep(10 * time.Second)
		gone := n.comes(t, 2, "b")
		n.comes(t, 3, "c")
		n.comes(t, 4, "c") // counts once
		time.Sleep(10 * time.Second)
		n.want(t)
		if n.logs.Len() != 1 {
			t.Errorf("logged %v", n.logs.All())
		}
		gone.Vanish()
		r.set(func() { r.away = false })
		time.Sleep(time.Second)
		synctest.Wait()
		n.sort()
		n.want(t, joined("a"), joined("c"))
		time.Sleep(10 * time.Second)
		n.want(t)
	})
}

// Joins that exceed the queue are found by the walk over the sessions; no join is announced twice.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRedis()
		n := newNode(t, nodetest.NewBus(), r, "n1")
		gate := make(chan struct{})
		r.set(func() { r.gate = gate })
		const users = 4096 + 200
		want := map[string]bool{}
		c := n.connect(t, 1, "a")
		for i := range users {
			room := fmt.Sprint("R", i)
			n.join(t, c, room) // does not wait
			want[room] = true
		}
		close(gate)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, s := range n.said {
			room, _, _ := strings.Cut(s, " ")
			if !want[room] {
				t.Errorf("%s was announced again", room)
			}
			delete(want, room)
		}
		if len(want) > 0 {
			t.Errorf("%d joins were not announced", len(want))
		}
	})
}

// A client that joins and leaves all the time fills the queue; others who come meanwhile are
// announced once all the same.
func TestQueueFullOfLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRedis()
		n := newNode(t, nodetest.NewBus(), r, "n1")
		gate := make(chan struct{})
		r.set(func() { r.gate = gate })
		busy := n.connect(t, 99, "busy")
		for range 5000 {
			n.join(t, busy, "other")
			n.sessions.Leave(busy.Conn, "other")
		}
		var want []string
		for i := range 10 {
			uid := fmt.Sprint(i)
			n.comes(t, int64(2*i+1), uid)
			n.comes(t, int64(2*i+2), uid)
			want = append(want, joined(uid))
		}
		r.set(func() { r.leaving = nil })
		close(gate)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		n.mu.Lock()
		n.said = slices.DeleteFunc(n.said, func(text string) bool { return strings.HasPrefix(text, "other ") })
		n.mu.Unlock()
		n.sort()
		n.want(t, want...)
		n.comes(t, 100, "last")
		n.want(t, joined("last"))
	})
}

// A connection that has left or ended before its turn is not announced.
func TestGoneBeforeItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRedis()
		n := newNode(t, nodetest.NewBus(), r, "n1")
		gate := make(chan struct{})
		r.set(func() { r.gate = gate })
		first := n.comes(t, 1, "first")
		synctest.Wait()
		leaves, ends := n.comes(t, 2, "leaves"), n.comes(t, 3, "ends")
		n.sessions.Leave(leaves.Conn, "R")
		n.sessions.Leave(first.Conn, "R") // while Redis has its join
		ends.Vanish()
		synctest.Wait()
		r.set(func() { r.leaving = nil })
		close(gate)
		n.want(t, joined("first"))
		// Its leave was noted before Redis knew of the join, so it is noted again.
		r.set(func() {
			if len(r.leaving) != 1 || r.leaving[0].ID != "first" {
				t.Errorf("noted as leaving: %+v", r.leaving)
			}
		})
		time.Sleep(time.Second)
		n.want(t, left("first"))
	})
}

// A user has left when no node has a connection of his in the room any more.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r := nodetest.NewBus(), newRedis()
		here, there := newNode(t, b, r, "n1"), newNode(t, b, r, "n2")
		there.setPhase(link.TakingOver) // so that the other node does all the looking
		a, tab, gone, moved := here.comes(t, 1, "a"), here.comes(t, 2, "a"), here.comes(t, 3, "gone"), here.comes(t, 4, "moved")
		here.want(t, joined("a"), joined("gone"), joined("moved"))
		there.comes(t, 5, "moved")
		a.Vanish()
		gone.Vanish()
		moved.Vanish()
		time.Sleep(2 * time.Second)
		here.want(t, left("gone"))
		here.sessions.Leave(tab.Conn, "R") // it stays connected
		time.Sleep(2 * time.Second)
		here.want(t, left("a"))
		there.want(t)
	})
}

// A node that does not answer may have the user. Nothing is announced until it answers, and then
// what is true.
func TestLeaveWhileANodeIsMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r := nodetest.NewBus(), newRedis()
		here, there := newNode(t, b, r, "n1"), newNode(t, b, r, "n2")
		there.setPhase(link.TakingOver)
		a, c := here.comes(t, 1, "a"), here.comes(t, 2, "c")
		here.want(t, joined("a"), joined("c"))
		there.comes(t, 3, "c")
		b.Mute("n2", true)
		a.Vanish()
		c.Vanish()
		time.Sleep(20 * time.Second)
		here.want(t)
		b.Mute("n2", false)
		time.Sleep(5 * time.Second)
		here.want(t, left("a"))
	})
}

// A node of another version that answers in another form may have the user, too.
func TestLeaveWhileANodeIsOfAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r := nodetest.NewBus(), newRedis()
		here, other := newNode(t, b, r, "n1"), b.Node("n2")
		ask.Handle(other.Nodes, ask.Op[struct{}, []bool]{Name: "present"}, func(int64, struct{}) ask.Answer[[]bool] {
			return ask.Answer[[]bool]{Value: []bool{false, false, false}}
		})
		a := here.comes(t, 1, "a")
		here.want(t, joined("a"))
		a.Vanish()
		time.Sleep(20 * time.Second)
		here.want(t)
	})
}

// Redis that knows no other nodes any more is no reason to announce a leave.
func TestLeaveWithoutRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r := nodetest.NewBus(), newRedis()
		n := newNode(t, b, r, "n1")
		a := n.comes(t, 1, "a")
		n.want(t, joined("a"))
		b.SetUnreachable(true)
		a.Vanish()
		time.Sleep(20 * time.Second)
		n.want(t)
		b.SetUnreachable(false)
		time.Sleep(2 * time.Second)
		n.want(t, left("a"))
	})
}

// Leaves that are due beyond one call are announced at once, not a second later.
func TestManyLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRedis()
		n := newNode(t, nodetest.NewBus(), r, "n1")
		var want []string
		for i := range 9 {
			r.addLeaving(fmt.Sprint(i))
			want = append(want, left(fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		n.want(t, want...)
		r.set(func() {
			if r.departs != 5 {
				t.Errorf("%d calls", r.departs)
			}
		})
	})
}

// During a reload only the worker that has the connections looks for users who have left.
func TestLeaveInAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRedis()
		n := newNode(t, nodetest.NewBus(), r, "n1")
		r.addLeaving("a")
		for _, p := range []link.Phase{link.Starting, link.TakingOver, link.HandingOver, link.HandedOver, link.Stopped} {
			n.setPhase(p)
			time.Sleep(10 * time.Second)
		}
		n.want(t)
		r.set(func() {
			if r.departs > 0 {
				t.Errorf("%d looks", r.departs)
			}
		})
		n.setPhase(link.Serving)
		time.Sleep(time.Second)
		n.want(t, left("a"))
	})
}

// A hand-over between the look and the answer announces nothing, and is no fault.
func TestLeaveAtTheHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nodetest.NewBus(), newRedis(), "n1")
		n.setPhase(link.HandedOver)
		n.redis.addLeaving("a")
		looks := 0
		p, err := presence.New(presence.Config{
			Hub: func() *hub.Hub { return n.hub.Hub }, Nodes: nodetest.NewBus().Node("n2").Nodes,
			Link: phases(func() link.Phase {
				looks++
				return map[bool]link.Phase{true: link.Serving, false: link.HandedOver}[looks == 1]
			}),
			Cluster: func() presence.Cluster { return n.redis }, Publish: n.publish, Log: n.log(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		go p.Run()
		time.Sleep(3 * time.Second)
		p.Close()
		n.want(t)
		n.redis.set(func() {
			if n.redis.departs != 1 {
				t.Errorf("%d looks", n.redis.departs)
			}
		})
	})
}

type phases func() link.Phase

func (p phases) Phase() link.Phase { return p() }

// log fails the test at the first line.
func (n *node) log(t *testing.T) *zap.Logger {
	core, logs := observer.New(zapcore.InfoLevel)
	t.Cleanup(func() {
		if logs.Len() > 0 {
			t.Errorf("logged %v", logs.All())
		}
	})
	return zap.New(core)
}

// Close waits for the announcement that is under way, and for no other.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRedis()
		n := newNode(t, nodetest.NewBus(), r, "n1")
		quiet := n.comes(t, 9, "quiet")
		n.want(t, joined("quiet"))
		p, err := presence.New(presence.Config{
			Hub: func() *hub.Hub { return n.hub.Hub }, Nodes: n.Nodes, Link: n,
			Cluster: func() presence.Cluster { return r }, Publish: n.publish, Log: zap.NewNop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		gate := make(chan struct{})
		r.set(func() { r.gate = gate })
		n.comes(t, 1, "a")
		p.Walk() // finds it, too
		p.Came(quiet.Conn, "R")
		begun := time.Now()
		go p.Run()
		time.Sleep(1500 * time.Millisecond)
		begun = begun.Add(time.Second) // of the first tick
		p.Close()
		if waited := time.Since(begun); waited != 2*nodetest.Timeout {
			t.Errorf("it has waited %v", waited)
		}
	})
}
