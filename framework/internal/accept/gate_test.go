package accept

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wsframe/framework/auth"
)

// At most 64 checks run, 16 of one address; others begin in their order, and wait for their time.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		enter := func(who string, within time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			return g.enter(ctx, who)
		}
		for range 16 {
			if err := enter("a", time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if err := enter("a", time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a 17th of one address: %v", err)
		}
		for i := range 48 {
			if err := enter(fmt.Sprint("b", i), time.Second); err != nil {
				t.Errorf("another address waits: %v", err)
			}
		}
		if err := enter("c", time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a 65th: %v", err)
		}
		var mu sync.Mutex
		var order []string
		for _, who := range []string{"a", "c", "d"} {
			go func() {
				if err := enter(who, time.Hour); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, who)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		for range 2 { // a has its share still
			g.leave("b0")
			synctest.Wait()
			g.users["b0"] = &gateUser{running: 1} // another one of it
		}
		g.leave("a")
		synctest.Wait()
		if got := strings.Join(order, " "); got != "c d a" {
			t.Error(got)
		}
	})
}

// The number of those that wait is bounded, and nothing is kept of who has gone.
func TestGateIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var busy sync.Map
		for i := range 2 * gateWaits {
			wg.Go(func() {
				if err := g.enter(ctx, fmt.Sprint(i%8)); errors.Is(err, errBusy) {
					busy.Store(i, true)
				}
			})
		}
		synctest.Wait()
		if len(g.queue) != gateWaits || g.running != gateRuns {
			t.Errorf("%d wait, %d run", len(g.queue), g.running)
		}
		cancel()
		wg.Wait()
		for len(g.users) > 0 {
			for who := range g.users {
				g.leave(who)
				break
			}
		}
		if g.running != 0 || len(g.queue) != 0 {
			t.Errorf("%d run, %d wait", g.running, len(g.queue))
		}
	})
}

// A check that hangs is refused when the time is over, and keeps neither a stop nor others.
func TestCostly(t *testing.T) {
	var hang chan struct{}
	inTime(t, func(c *Config) {
		hang = make(chan struct{}) // of the bubble
		c.Authenticate = func(h *Handshake) (id auth.Identity, err error) {
			return auth.Identity{ID: h.Token}, h.Costly(func(ctx context.Context) error {
				switch h.Token {
				case "panic":
					panic("in a check")
				case "wait":
					<-ctx.Done()
				case "hang":
					<-hang
				case "bad":
					return errToken
				}
				return ctx.Err()
			})
		}
	}, func(t *testing.T, s *running) {
		for token, want := range map[string]int{"good": 101, "bad": 403, "panic": 403, "wait": 503, "hang": 503} {
			begin := time.Now()
			if a := s.ask(near, upgrade("/?auth="+token, "")); a.status != want {
				t.Errorf("%s: %d", token, a.status)
			}
			if took := time.Since(begin); (took == 10*time.Second) != (want == 503) {
				t.Errorf("%s took %v", token, took)
			}
		}
		synctest.Wait() // a check gives its place back after its answer
		if s.gate.running != 1 {
			t.Errorf("%d checks run", s.gate.running)
		}
		client, server := connect(near)
		s.ln.conns <- server
		go func() { _, _ = client.Write([]byte(upgrade("/?auth=hang", ""))) }()
		synctest.Wait()
		begin := time.Now()
		s.Stop()
		if time.Since(begin) > time.Second {
			t.Errorf("the stop took %v", time.Since(begin))
		}
		_ = client.Close()
		close(hang)
		synctest.Wait()
		if s.gate.running != 0 || len(s.gate.users) != 0 {
			t.Error("a place was not given back")
		}
	})
}
