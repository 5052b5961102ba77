//go:build unix

package framework_test

import (
	"context"
	"fmt"
	"os"
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

// Connections in the middle of everything are moved there and back; their clients notice nothing.
func TestTransfer(t *testing.T) {
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
	busy.Send(`{"method":"s.wait","id":"w"}`)
	busy.Send(`{"method":"probe.see","id":"behind"}`) // must wait for it, wherever it runs
	h1.Eventually("the action runs", func() bool { in, _ := h1.App.Hub().Get(1).Counts(); return in == 2 })
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
