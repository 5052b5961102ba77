//go:build unix

package process

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"wsframe/framework/manager"
)

// Connections move where both workers can. The client's socket stays, and another process replies.
func TestTransfer(t *testing.T) {
	s := start(t, "v1", nil)
	a, b := dial(t, s.addr), dial(t, s.addr)
	for range 2 {
		r, err := s.m.Reload(t.Context(), false)
		if err != nil || r.Moved != 2 || r.Drained != 0 || r.Pause == 0 || len(r.Notes) != 0 {
			t.Fatalf("%+v %v", r, err)
		}
		if a.echo("x") != r.NewPID || b.echo("y") != r.NewPID || alive(r.OldPID) {
			t.Fatalf("not served by %d", r.NewPID)
		}
	}
}

// After a failed move either the old worker has every connection, or the new one those that it has
// received.
func TestTransferFaults(t *testing.T) {
	for _, tc := range []struct {
		name, old, next string
		want            string // in the error, or in a note
		fails           bool
		live            int // connections that survive
	}{
		{"other version", "v1", "v2", "cannot read version 1", false, 0},
		{"new cannot", "v1", "", "cannot read version 1", false, 0},
		{"old cannot", "", "v1", "old worker cannot move", false, 0},
		{"old refuses", "v1 fails-to-give", "v1", "not in the mood", true, 2},
		{"new dies", "v1", "v1 dies-taking", "the new worker ended in the middle", true, 2},
		{"old dies", "v1 dies-giving", "v1", "the old worker ended in the middle", false, 1},
		{"old dies late", "v1 dies-when-all-is-given", "v1", "the old worker ended in the middle", false, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := start(t, tc.old, nil)
			clients := []*client{dial(t, s.addr), dial(t, s.addr)}
			old := clients[0].pid
			s.write(tc.next)
			r, err := s.m.Reload(t.Context(), false)
			said := strings.Join(r.Notes, "\n")
			if err != nil {
				said = err.Error()
			}
			if (err != nil) != tc.fails || !strings.Contains(said, tc.want) {
				t.Fatalf("%v, notes %v", err, r.Notes)
			}
			serves := r.NewPID
			if tc.fails {
				serves = old
			}
			if now := dial(t, s.addr).pid; now != serves || s.status().WorkerPID != serves {
				t.Fatalf("%d serves, not %d", now, serves)
			}
			if tc.live == 0 {
				for _, c := range clients {
					c.want("bye 1012 server reloads")
				}
				if r.Drained != 2 {
					t.Fatalf("%+v", r)
				}
			} else if n := living(clients, serves); n != tc.live {
				t.Fatalf("%d connections live on: %s", n, said)
			}
			if st := s.status(); st.WorkerRestarts != 0 {
				t.Fatalf("%+v", st)
			}
		})
	}
}

// living counts the clients that are served by pid.
func living(clients []*client, pid int) (n int) {
	for _, c := range clients {
		_ = c.conn.SetDeadline(time.Now().Add(testWait))
		if _, err := c.conn.Write([]byte("x\n")); err != nil {
			continue
		}
		if line, err := c.r.ReadString('\n'); err == nil && line == fmt.Sprintf("%d x\n", pid) {
			n++
		}
	}
	return n
}

// reloading is a reload that waits for an action in the old worker, while the new one serves.
func reloading(t *testing.T, s *server, c *client, next string) (done chan error) {
	t.Helper()
	s.write(next)
	done = make(chan error, 1)
	go func() { _, err := s.m.Reload(context.Background(), false); done <- err }()
	until(t, "the new worker serves", func() bool { pid := s.status().WorkerPID; return pid != 0 && pid != c.pid })
	return done
}

// patient has a reload wait longer than any test.
func patient(c *MasterConfig) { c.DrainTime = 10 * time.Minute }

// The new worker dies when it has the connections. The old one then ends without waiting for its
// actions, and another worker is started, as after a crash.
func TestNewWorkerDiesWithTheConnections(t *testing.T) {
	t.Parallel()
	for _, old := range []string{"v1", "v1 busy"} {
		for _, when := range []string{"at its claim", "later"} {
			if when == "later" && old == "v1" {
				continue // that is a crash after the reload
			}
			t.Run("old "+old+", "+when, func(t *testing.T) {
				s := start(t, old, patient)
				c := dial(t, s.addr)
				var err error
				if when == "later" {
					done := reloading(t, s, c, "v1")
					_ = syscall.Kill(s.status().WorkerPID, syscall.SIGKILL)
					err = <-done
				} else {
					s.write("v1 dies-claiming")
					reloaded := make(chan error, 1)
					go func() { _, err := s.m.Reload(context.Background(), false); reloaded <- err }()
					until(t, "the new worker has died", func() bool { return s.logs.FilterMessage("reload failed; another worker is started").Len() == 1 })
					s.write("v1")
					err = <-reloaded
				}
				if err == nil || !strings.Contains(err.Error(), "ended when it had taken over") {
					t.Fatalf("%v", err)
				}
				until(t, "another worker serves", func() bool { st := s.status(); return st.WorkerRestarts == 1 && st.WorkerPID != 0 })
				again := dial(t, s.addr)
				if again.pid == c.pid || alive(c.pid) {
					t.Fatal("the old worker is kept")
				}
				// And the next reload is as good as the first.
				if r, err := s.m.Reload(t.Context(), false); err != nil || r.Moved != 1 || again.echo("x") != r.NewPID {
					t.Fatalf("%+v %v", r, err)
				}
			})
		}
	}
}

// While a reload waits for an action, status and stop concern the new worker, and logs are reopened
// by both.
func TestReloadWaitsForAnAction(t *testing.T) {
	s := start(t, "v1 busy", patient)
	c := dial(t, s.addr)
	for range 3 {
		c.echo("x")
	}
	done := reloading(t, s, c, "v1")
	st := s.status()
	if c.echo("y") != st.WorkerPID || st.Connections != 1 {
		t.Fatalf("%+v", st)
	}
	until(t, "the totals are those of both", func() bool { return s.status().MessagesIn == 4 })
	if dial(t, s.addr).pid != st.WorkerPID {
		t.Fatal("another one accepts")
	}
	s.m.ReopenLogs()
	for _, pid := range []int{c.pid, st.WorkerPID} {
		until(t, "both reopen their logs", func() bool { return strings.Contains(s.out.String(), fmt.Sprintf("logs reopened by %d\n", pid)) })
	}
	_ = s.m.Stop(t.Context(), true)
	c.want("bye 1001 server is going away")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.wait()
	if s.err != nil || alive(c.pid) || alive(st.WorkerPID) {
		t.Fatalf("%v", s.err)
	}
}

// A reload ends at its limit even if an action does not.
func TestReloadDrainLimit(t *testing.T) {
	t.Parallel()
	s := start(t, "v1 busy", func(c *MasterConfig) { c.DrainTime = time.Second })
	c := dial(t, s.addr)
	s.write("v1")
	r, err := s.m.Reload(t.Context(), false)
	if err != nil || r.Moved != 1 || r.Drained != 0 || len(r.Notes) != 1 || r.Notes[0] != "an action outlived the limit" || c.echo("x") != r.NewPID {
		t.Fatalf("%+v %v", r, err)
	}
}

// The old worker accepts clients until its connections move, however long its OnReload takes.
func TestNewcomersDuringOnReload(t *testing.T) {
	s := start(t, "v1 waits-in-hook", patient)
	c := dial(t, s.addr)
	s.write("v1")
	type result struct {
		r   manager.ReloadReport
		err error
	}
	done := make(chan result, 1)
	go func() { r, err := s.m.Reload(context.Background(), false); done <- result{r, err} }()
	until(t, "OnReload", func() bool { return strings.Contains(s.out.String(), "OnReload waits") })
	const n = 20
	for range n {
		if now := dial(t, s.addr).pid; now != c.pid {
			t.Fatalf("served by %d", now)
		}
	}
	if err := os.Remove(s.script); err != nil {
		t.Fatal(err)
	}
	if d := <-done; d.err != nil || d.r.Moved != n+1 || dial(t, s.addr).pid != d.r.NewPID {
		t.Fatalf("%+v", d)
	}
}

// A worker without a free descriptor reloads by those that it has kept. Without any, or where the
// new worker has none, nothing changes, and the error says so.
func TestReloadWithoutDescriptors(t *testing.T) {
	for _, tc := range []struct{ name, old, next, want string }{
		{"old is full", "v1 full", "v1", ""},
		{"old has no spare ones either", "v1 no-spare", "v1", "no descriptor came along"},
		{"new is full", "v1", "v1 full", "could not be moved; the old worker goes on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := start(t, tc.old, func(c *MasterConfig) {
				c.Command = []string{"/bin/sh", "-c", `ulimit -n 100; exec "$0"`, os.Args[0]}
			})
			clients := []*client{dial(t, s.addr), dial(t, s.addr)}
			s.write(tc.next)
			for range 2 {
				r, err := s.m.Reload(t.Context(), false)
				serves := r.NewPID
				if tc.want != "" {
					serves = clients[0].pid
				}
				if (err != nil) != (tc.want != "") || err != nil && !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("%+v %v", r, err)
				}
				if n := living(clients, serves); n != 2 || s.status().WorkerPID != serves {
					t.Fatalf("%d live on", n)
				}
			}
			if st := s.status(); st.WorkerRestarts != 0 {
				t.Fatalf("%+v", st)
			}
			if tc.old == "v1" { // with a descriptor for him
				dial(t, s.addr)
			}
		})
	}
}
