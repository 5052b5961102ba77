//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// watcher records the announcements of joins and leaves in its room.
type watcher struct {
	mu   sync.Mutex
	seen []string
}

func (n *nodes) watch(node int, room string) *watcher {
	n.t.Helper()
	p := dial(n.t, n.list[node].outside, n.token("watcher"))
	p.send(`{"method":"hall.join","id":1,"room":"` + room + `"}`)
	w := &watcher{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	n.t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		for {
			_, b, err := p.ws.Read(ctx)
			if err != nil {
				return
			}
			var f struct {
				Event string
				Param json.RawMessage
			}
			var who struct{ ID string }
			if _ = json.Unmarshal(b, &f); f.Event == "roomJoin" || f.Event == "roomLeave" {
				_ = json.Unmarshal(f.Param, &who)
				w.mu.Lock()
				w.seen = append(w.seen, f.Event+" "+who.ID)
				w.mu.Unlock()
			}
		}
	}()
	w.want(n.t, "roomJoin watcher")
	return w
}

func (w *watcher) events() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// want waits until the watcher has seen exactly these events, in any order. The death of a node
// takes longest, because its lease must expire.
func (w *watcher) want(t *testing.T, events ...string) {
	t.Helper()
	slices.Sort(events)
	var got []string
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if got = w.events(); len(got) >= len(events) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("seen %v, want %v", got, events)
		}
	}
	if slices.Sort(got); !slices.Equal(got, events) {
		t.Fatalf("seen %v, want %v", got, events)
	}
}

// Two nodes end, one by SIGTERM and one by kill -9. The members on the third node are notified once
// of each user who does not reconnect, and once of the return. A user who reconnects in time is not
// announced.
func TestPresenceOverNodes(t *testing.T) {
	onStores(t, func(t *testing.T, s *store) {
		n := startNodes(t, s, 3, nil, "WSFRAME_APP_PRESENCE_ROOMS=hall,other_*")
		w := n.watch(0, "hall")
		seen := []string{"roomJoin watcher"}
		want := func(events ...string) {
			t.Helper()
			seen = append(seen, events...)
			w.want(t, slices.Clone(seen)...)
		}
		for node, list := range [][]string{1: {"p", "r"}, 2: {"q", "s"}} {
			for _, uid := range list {
				n.member(node, uid, "hall")
				want("roomJoin " + uid)
			}
		}
		if err := n.list[1].cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		n.member(0, "r", "hall")
		<-n.list[1].ended
		want("roomLeave p")
		n.member(0, "p", "hall")
		want("roomJoin p")

		until(t, "Redis to know all", func() bool { return n.list[2].status().StorePending == 0 })
		n.kill(2)
		n.member(0, "s", "hall")
		want("roomLeave q")
		n.member(0, "q", "hall")
		want("roomJoin q")

		// After Redis was emptied, present users are not announced again, and departures are
		// announced.
		for _, r := range s.masters {
			c := redis.NewClient(&redis.Options{Addr: r.Addr, Password: s.password, DisableIdentity: true})
			if err := c.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		p := "t:WSFRAME_PRESENT_hall"
		for end := time.Now().Add(30 * time.Second); s.client.HLen(t.Context(), p).Val() != 5; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("Redis knows %v", s.client.HKeys(t.Context(), p).Val())
			}
		}
		tab, last := n.member(0, "q", "hall"), n.member(0, "z", "hall")
		want("roomJoin z")
		_, _ = tab.nc.Close(), last.nc.Close()
		want("roomLeave z")
	})
}
