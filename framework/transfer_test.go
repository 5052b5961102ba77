//go:build unix

package framework_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// slow is a controller whose action waits until it is let go.
type slow struct{ gate chan struct{} }

func (s *slow) Wait(c *framework.Ctx) (*framework.Reply, error) {
	<-s.gate
	return framework.OK("waited", ""), nil
}

func (s *slow) Join(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("joined", ""), c.Join("ROOM")
}

func (s *slow) Tell(c *framework.Ctx, in *struct {
	N framework.Int `json:"n"`
}) (*framework.Reply, error) {
	return framework.OK("told", "", int64(in.N)), c.Publish("ROOM", framework.OK("news", "", int64(in.N)))
}

func pair(t testing.TB) (a, b *os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
}

// move has the connections of one App served by another.
func move(t testing.TB, from, to *framework.App) (gave, took framework.Moved) {
	t.Helper()
	a, b := pair(t)
	ctx, cancel := context.WithTimeout(context.Background(), frameworktest.Timeout)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		var err error
		if took, err = to.Adopt(ctx, b, func() {}); err != nil {
			t.Errorf("adopt: %v", err)
		}
	})
	gave, err := from.Transfer(ctx, a, func(int) {})
	if err != nil {
		t.Errorf("transfer: %v", err)
	}
	wg.Wait()
	return gave, took
}

func twoApps(t testing.TB, gate chan struct{}) (h1, h2 *frameworktest.Harness) {
	mount := func(d framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("s", &slow{gate}), framework.Mount("probe", &probe{})}, nil
	}
	off := frameworktest.Config(func(c *config.App) { c.Limits.MessageRate = 0 })
	return frameworktest.New(t, mount, off, frameworktest.Quiet()), frameworktest.New(t, mount, off, frameworktest.Quiet())
}

// A connection has the uids that it had, also where its token has bound none.
func TestTransferUIDs(t *testing.T) {
	old, next := frameworktest.NewWorkers(t, true, mountHall)
	unbound, bound := old.Dial(screen("1")), old.Dial(screen("2"))
	fdOf(unbound, "hall")
	if err := old.App.BindUID(t.Context(), fdOf(bound, "hall"), "2"); err != nil {
		t.Fatal(err)
	}
	move(t, old.App, next.App)
	for _, uid := range []string{"1", "2"} {
		if err := next.App.SendToUID(uid, framework.OK("private", "", uid)); err != nil {
			t.Fatal(err)
		}
	}
	bound.WantPush("private").WantParam(`"2"`)
	unbound.Call("hall.say", map[string]any{"room": "nobody", "text": "x"}).Want(200, "said") // no push came before
}

// Connections in the middle of everything are moved there and back; their clients notice nothing.
func TestTransfer(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	h1, h2 := twoApps(t, gate)
	const n = 300
	var clients []*frameworktest.Client
	for i := range n {
		c := h1.Dial(framework.Identity{ID: fmt.Sprint("u", i), Type: framework.TypeWechatUser, Code: "A"})
		c.Call("s.join", nil).Want(200, "joined")
		clients = append(clients, c)
	}
	busy := clients[0]
	fd := fdSeen(busy)
	busy.Send(`{"method":"s.wait","id":"w"}`)
	busy.Send(`{"method":"probe.see","id":"behind"}`) // must wait for it, wherever it runs
	h1.Eventually("the action runs", func() bool { in, _ := h1.App.Hub().Get(fd).Counts(); return in == 3 })
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, c := range clients[1:] {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("%d", i)
				c.Send(`{"method":"probe.see","id":` + id + `}`)
				if got := c.Receive(); !strings.HasSuffix(got, `"id":`+id+`}`) {
					t.Errorf("request %s was answered %.200s", id, got)
					return
				}
			}
		})
	}
	h := [2]*frameworktest.Harness{h1, h2}
	time.AfterFunc(time.Second, func() { close(gate) })
	for round := range 4 {
		from, to := h[round%2].App, h[(round+1)%2].App
		gave, took := move(t, from, to)
		if gave.Connections != n || took.Connections != n || from.Hub().Len() != 0 || to.Hub().Len() != n {
			t.Fatalf("round %d: gave %+v, took %+v, left %d", round, gave, took, from.Hub().Len())
		}
		t.Logf("round %d: pause %v %v", round, gave.Pause, gave.Notes)
		from.Resume()
	}
	close(stop)
	wg.Wait()
	for _, want := range []string{`"event":"waited"`, `"id":"behind"`} {
		if got := busy.Receive(); !strings.Contains(got, want) {
			t.Fatalf("got %.200s, want %s", got, want)
		}
	}
	// The rooms came along.
	if got := h1.App.Hub().Members("ROOM"); got != n {
		t.Fatalf("%d members", got)
	}
	clients[1].Call("s.tell", map[string]any{"n": 7}).Want(200, "told")
	for _, c := range clients {
		c.WantPush("news")
		c.WantNothing()
	}
}

// A new process that goes away before it serves: the old one goes on as if nothing had happened.
func TestTransferFails(t *testing.T) {
	h1, _ := twoApps(t, make(chan struct{}))
	c := h1.Dial(someone)
	c.Call("s.join", nil).Want(200, "joined")
	for _, answer := range []string{"", "T\x00\x00\x00\x00", "\x00\x00", "S\xff\xff\xff\xff"} {
		a, b := pair(t)
		go func() {
			_, _ = b.WriteString(answer)
			buf := make([]byte, 10)
			_, _ = b.Read(buf)
			_ = b.Close()
		}()
		if _, err := h1.App.Transfer(t.Context(), a, func(int) { t.Error("nothing was handed over") }); err == nil {
			t.Fatalf("no error with %q", answer)
		}
		c.Call("s.tell", map[string]any{"n": 1}).Want(200, "told")
		c.WantPush("news")
		c.WantNothing()
		h1.Dial(someone).Call("s.join", nil).Want(200, "joined") // it accepts again
	}
}

// The pause of a move, both Apps and the clients in one process.
func BenchmarkTransfer(b *testing.B) {
	const n = 4000
	h1, h2 := twoApps(b, nil)
	for i := range n {
		c := h1.Dial(framework.Identity{ID: fmt.Sprint("u", i), Type: framework.TypeWechatUser, Code: "A"})
		c.Call("s.join", nil).Want(200, "joined")
	}
	var pause time.Duration
	for from, to := h1.App, h2.App; b.Loop(); from, to = to, from {
		gave, took := move(b, from, to)
		if gave.Connections != n || from.Hub().Len() != 0 {
			b.Fatalf("moved %d, left %d", gave.Connections, from.Hub().Len())
		}
		pause += max(gave.Pause, took.Pause)
		from.Resume()
	}
	b.ReportMetric(float64(pause.Nanoseconds())/float64(b.N*n), "ns/connection")
}

// clerk is a controller whose action does one thing after the other, each when it is let go. It stays in its action meanwhile.
type clerk struct {
	steps  chan func(c *framework.Ctx) error
	did    chan error
	closed chan int64
}

func newClerk() *clerk {
	return &clerk{make(chan func(*framework.Ctx) error), make(chan error, 1), make(chan int64, 16)}
}

func (k *clerk) Work(c *framework.Ctx) (*framework.Reply, error) {
	for step := range k.steps {
		k.did <- step(c)
	}
	return framework.OK("worked", ""), nil
}

func (k *clerk) Tell(c *framework.Ctx, in *hallIn) (*framework.Reply, error) {
	return framework.OK("told", ""), c.Publish(in.Room, framework.OK("news", "", in.Text))
}

func (k *clerk) Rooms(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("rooms", "", []any{c.Rooms(), c.UIDs(), c.Session()}), nil
}

func (k *clerk) OnClose(c *framework.Closed) { k.closed <- c.FD }

func (k *clerk) mount(framework.Deps) ([]framework.Controller, error) {
	return []framework.Controller{framework.Mount("clerk", k), framework.Mount("hall", &hall{})}, nil
}

// do has the action that runs do one more thing.
func (k *clerk) do(t *testing.T, what string, step func(c *framework.Ctx) error) {
	t.Helper()
	select {
	case k.steps <- step:
	case <-time.After(frameworktest.Timeout):
		t.Fatalf("%s: no action runs", what)
	}
	select {
	case err := <-k.did:
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(frameworktest.Timeout):
		t.Fatalf("%s takes too long", what)
	}
}

// handOver begins a move, and returns as soon as the other App serves; rest waits for its end.
func handOver(t *testing.T, from, to *framework.App) (rest func() (gave, took framework.Moved)) {
	t.Helper()
	a, b := pair(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*frameworktest.Timeout)
	var wg sync.WaitGroup
	var gave, took framework.Moved
	serving := make(chan struct{})
	wg.Go(func() {
		var err error
		if took, err = to.Adopt(ctx, b, func() { close(serving) }); err != nil {
			t.Errorf("adopt: %v", err)
		}
	})
	wg.Go(func() {
		var err error
		if gave, err = from.Transfer(ctx, a, func(int) {}); err != nil {
			t.Errorf("transfer: %v", err)
		}
	})
	select {
	case <-serving:
	case <-time.After(frameworktest.Timeout):
		t.Fatal("the connections do not come over")
	}
	return func() (framework.Moved, framework.Moved) {
		t.Helper()
		defer cancel()
		wg.Wait()
		return gave, took
	}
}

func onWorkers(t *testing.T, f func(t *testing.T, alone bool)) {
	t.Run("alone", func(t *testing.T) { t.Parallel(); f(t, true) })
	t.Run("with others", func(t *testing.T) { t.Parallel(); f(t, false) })
}

// An action that outlives a reload changes its connection, asks, and sends, as if it were where the connection is.
func TestActionAcrossTransfer(t *testing.T) {
	onWorkers(t, func(t *testing.T, alone bool) {
		k := newClerk()
		h1, h2 := frameworktest.NewWorkers(t, alone, k.mount, frameworktest.Quiet())
		c, other := h1.Dial(user("a")), h1.Dial(user("b"))
		fdOther := fdOf(other, "hall")
		c.Send(`{"method":"clerk.work","id":"w"}`)
		k.do(t, "before the move", func(c *framework.Ctx) error {
			return errors.Join(c.Join("before"), c.Join("left"), c.BindUID("left"), c.AddCloseKey("LEFT"))
		})
		rest := handOver(t, h1.App, h2.App)
		var fd int64
		k.do(t, "its own connection", func(c *framework.Ctx) error {
			fd = c.FD
			c.Leave("left")
			c.UnbindUID("left")
			c.RemoveCloseKey("LEFT")
			return errors.Join(c.Join("after"), c.BindUID("team"), c.AddCloseKey("KEY"), c.AddCloseListener("clerk"),
				c.SetSession(map[string]any{"a": 1}), c.UpdateSession(map[string]any{"b": 2}))
		})
		k.do(t, "a publish behind a join", func(c *framework.Ctx) error {
			return errors.Join(c.Join("news"), c.Publish("news", framework.OK("news", "", "own")))
		})
		c.WantPush("news").WantParam(`"own"`)
		k.do(t, "what it sees of itself", func(c *framework.Ctx) error {
			if !c.InRoom("after") || c.InRoom("left") || len(c.Session()) != 2 || !slices.Contains(c.UIDs(), "team") || slices.Contains(c.UIDs(), "left") {
				return fmt.Errorf("%v %v %s", c.Rooms(), c.UIDs(), c.Session())
			}
			return nil
		})
		k.do(t, "others", func(c *framework.Ctx) error {
			online, err := c.Server().IsOnline(c, fdOther)
			there, err2 := c.Server().IsUIDOnline(c, "b")
			away, err3 := c.Server().IsUIDOnline(c, "nobody")
			n, err4 := c.Server().RoomCount(c, "hall")
			total, err5 := c.Server().Counts(c)
			values, err6 := c.Server().Session(c, fdOther)
			list, err7 := c.Server().RoomMembers(c, "hall", 0, 10)
			err8 := c.Server().Join(c, fdOther, "invited")
			_, err9 := c.Server().Session(c, fdOther+1000)
			if err := errors.Join(err, err2, err3, err4, err5, err6, err7, err8); err != nil {
				return err
			}
			if !online || !there || away || n != 1 || total.Connections != 2 || total.Rooms != 4 || total.Nodes != 1 || len(values) != 0 || len(list) != 1 ||
				c.Server().Members("hall") != 1 || !errors.Is(err9, framework.ErrNoConnection) {
				return fmt.Errorf("%t %t %t %d %+v %v %v %d %v", online, there, away, n, total, values, list, c.Server().Members("hall"), err9)
			}
			return nil
		})
		// Where it is now, all that is known.
		for _, room := range []string{"before", "after", "news", "invited"} {
			if n := h2.App.Members(room); n != 1 {
				t.Errorf("%d members of %s", n, room)
			}
		}
		if n := h2.App.Members("left"); n != 0 {
			t.Errorf("%d members of a room that was left", n)
		}
		close(k.steps)
		if got := c.Receive(); !strings.Contains(got, `"event":"worked"`) {
			t.Fatal(got)
		}
		gave, took := rest()
		if gave.Connections != 2 || took.Connections != 2 {
			t.Errorf("gave %+v, took %+v", gave, took)
		}
		c.Call("clerk.rooms", nil).Want(200, "rooms").WantParam(`[["before","after","news"],["a","team"],{"a":1,"b":2}]`)
		if err := h2.App.SendToUID("team", framework.OK("team", "")); err != nil {
			t.Fatal(err)
		}
		c.WantPush("team")
		h2.Flush()
		in := func(key string) bool { return h2.Redis.SIsMember(t.Context(), key, fd).Val() }
		if !in("after") || in("left") {
			t.Errorf("after: %t, left: %t", in("after"), in("left"))
		}
		for _, key := range []string{"KEY", "LEFT"} {
			h2.Redis.SAdd(t.Context(), key, fd)
		}
		c.Vanish()
		select {
		case got := <-k.closed:
			if got != fd {
				t.Errorf("told of %d, not %d", got, fd)
			}
		case <-time.After(frameworktest.Timeout):
			t.Error("the close listener is told of nothing")
		}
		h2.Eventually("its keys are cleaned", func() bool { return !in("after") && !in("KEY") })
		if !in("LEFT") {
			t.Error("it was removed from a set that is no close key any more")
		}
	})
}

// What is done to connections while they move is done: each change either moves along or is made where the connection is then.
func TestChangesDuringTransfer(t *testing.T) {
	onWorkers(t, func(t *testing.T, alone bool) {
		k := newClerk()
		h1, h2 := frameworktest.NewWorkers(t, alone, k.mount, frameworktest.Quiet())
		const n = 200
		var fds []int64
		for i := range n {
			fds = append(fds, fdOf(h1.Dial(user(fmt.Sprint(i))), "hall"))
		}
		h1.Dial(user("busy")).Send(`{"method":"clerk.work","id":"w"}`) // has the transfer last
		k.do(t, "it runs", func(*framework.Ctx) error { return nil })
		var wg sync.WaitGroup
		begun := make(chan struct{})
		wg.Go(func() {
			for i, fd := range fds {
				if i == n/10 {
					close(begun)
				}
				if err := h1.App.Join(t.Context(), fd, "joined"); err != nil {
					t.Errorf("join of %d: %v", fd, err)
				}
				if err := h1.App.UpdateSession(t.Context(), fd, map[string]any{"i": i}); err != nil {
					t.Errorf("session of %d: %v", fd, err)
				}
			}
		})
		<-begun
		rest := handOver(t, h1.App, h2.App)
		wg.Wait()
		close(k.steps)
		rest()
		if got := h2.App.Members("joined"); got != n {
			t.Errorf("%d of %d are in the room", got, n)
		}
		for i, fd := range fds {
			if values, err := h2.App.Session(t.Context(), fd); err != nil || string(values["i"]) != fmt.Sprint(i) {
				t.Fatalf("session of %d: %s %v", fd, values, err)
			}
		}
	})
}

// A connection that has ended in the new worker leaves nothing behind through the action that still runs in the old one.
func TestEndedAcrossTransfer(t *testing.T) {
	k := newClerk()
	h1, h2 := frameworktest.NewWorkers(t, true, k.mount, frameworktest.Quiet())
	c := h1.Dial(user("a"))
	c.Send(`{"method":"clerk.work","id":"w"}`)
	var fd int64
	k.do(t, "it runs", func(c *framework.Ctx) error { fd = c.FD; return nil })
	rest := handOver(t, h1.App, h2.App)
	if err := h2.App.Kick(t.Context(), fd, 0, "out"); err != nil {
		t.Fatal(err)
	}
	c.WantClose(framework.CloseKicked)
	k.do(t, "a join of nobody", func(c *framework.Ctx) error {
		// The new worker reads from it, and so sees its end, when this action has ended.
		for range 3 {
			_ = c.Join("late")
		}
		return nil
	})
	close(k.steps)
	rest()
	h2.Eventually("it has ended", func() bool { return h2.App.Hub().Len() == 0 })
	for _, h := range []*frameworktest.Harness{h1, h2} {
		h.Flush()
		if n := h.App.Members("late"); n != 0 {
			t.Errorf("%d members", n)
		}
	}
	if set := h2.Redis.SMembers(t.Context(), "late").Val(); len(set) != 0 {
		t.Errorf("the set has %v", set)
	}
}

// shaking connects a client whose request is not complete before the last two bytes of it.
func shaking(t *testing.T, h *frameworktest.Harness, id framework.Identity) net.Conn {
	t.Helper()
	id.CTime = time.Now().Unix()
	token, err := h.Tokens.Issue(id)
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.Trim(strings.TrimPrefix(h.URL, "ws:"), "/")
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(frameworktest.Timeout))
	fmt.Fprintf(nc, "GET /?auth=%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", token)
	return nc
}

// While actions hold a transfer, one of them of a connection that is ending already, another connection comes: it moves, and those that
// have moved do not move again.
func TestLateConnections(t *testing.T) {
	k, gone := newClerk(), newClerk()
	mount := func(d framework.Deps) ([]framework.Controller, error) {
		list, err := k.mount(d)
		return append(list, framework.Mount("gone", gone)), err
	}
	h1, h2 := frameworktest.NewWorkers(t, true, mount, frameworktest.Quiet())
	c, ending := h1.Dial(user("a")), h1.Dial(user("b"))
	c.Send(`{"method":"clerk.work","id":"w"}`)
	k.do(t, "it runs", func(*framework.Ctx) error { return nil })
	ending.Send(`{"method":"gone.work","id":"w"}`)
	gone.do(t, "a kick in its own action", func(c *framework.Ctx) error { return c.Server().Kick(c, c.FD, 0, "") })
	late := shaking(t, h1, user("late"))
	h1.Eventually("its handshake has begun", func() bool { return h1.App.Shaking() == 1 })
	rest := handOver(t, h1.App, h2.App)
	fmt.Fprint(late, "\r\n\x81\x81\x00\x00\x00\x002")
	br := bufio.NewReader(late)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	heartbeat := make([]byte, 3)
	if _, err := io.ReadFull(br, heartbeat); err != nil || string(heartbeat) != "\x81\x013" {
		t.Fatalf("%q %v", heartbeat, err)
	}
	h2.Eventually("it has moved", func() bool { return h2.App.Hub().Len() == 2 })
	k.do(t, "the first still runs", func(c *framework.Ctx) error { return c.Push(framework.OK("push", "")) })
	c.WantPush("push")
	gone.do(t, "the second, too", func(c *framework.Ctx) error {
		n, err := c.Server().RoomCount(context.WithoutCancel(c), "nowhere")
		if n != 0 {
			return fmt.Errorf("%d members", n)
		}
		return err
	})
	close(k.steps)
	if got := c.Receive(); !strings.Contains(got, `"event":"worked"`) {
		t.Fatal(got)
	}
	close(gone.steps)
	ending.WantClose(framework.CloseKicked)
	gave, took := rest()
	if gave.Connections != 2 || took.Connections != 2 {
		t.Errorf("gave %+v, took %+v", gave, took)
	}
	c.WantNothing()
	h1.Eventually("nothing is left", func() bool { return h1.App.Hub().Len() == 0 })
}

// A new worker that does not get the claim has said nothing: what waits in it is not in the old one's name.
func TestTransferTakenBack(t *testing.T) {
	k := newClerk()
	h1, h2 := frameworktest.NewWorkers(t, false, k.mount, frameworktest.Quiet())
	c := h1.Dial(user("a"))
	fdOf(c, "hall")
	if err := h2.App.Publish("hall", framework.OK("news", "", "of the new one")); err != nil { // waits for the hand-over
		t.Fatal(err)
	}
	a, b := pair(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h2.App.AdoptInVain(t.Context(), b); err == nil {
			t.Error("it was adopted")
		}
	})
	if _, err := h1.App.Transfer(t.Context(), a, func(int) { t.Error("nothing was handed over") }); err == nil {
		t.Error("it has moved")
	}
	wg.Wait()
	for i := range 3 {
		c.Call("clerk.tell", map[string]any{"room": "hall", "text": fmt.Sprint(i)}).Want(200, "told")
	}
	for i := range 3 {
		c.WantPush("news").WantParam(fmt.Sprintf("%q", fmt.Sprint(i)))
	}
	c.WantNothing()
}
