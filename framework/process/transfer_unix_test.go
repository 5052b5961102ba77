//go:build unix

package process

import (
	"strings"
	"testing"
)

// Connections move where both workers can: the client's socket stays, another process answers.
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

func TestTransferFaults(t *testing.T) {
	for _, tc := range []struct {
		name, old, next string
		want            string // in the error, or in a note
		fails           bool
	}{
		{"other version", "v1", "v2", "cannot read version 1", false},
		{"new cannot", "v1", "", "cannot read version 1", false},
		{"old cannot", "", "v1", "old worker cannot move", false},
		{"old refuses", "v1 fails-to-give", "v1", "not in the mood", true},
		{"new dies", "v1", "v1 dies-taking", "the new worker ended in the middle", true},
		{"old dies", "v1 dies-giving", "v1", "the old worker ended in the middle", false},
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
			alone := 0
			switch tc.name {
			case "old refuses":
				if clients[0].echo("x") != old || clients[1].echo("y") != old {
					t.Fatal("not thawed")
				}
			case "new dies", "old dies": // each side keeps what it holds: one of two
				for _, c := range clients {
					if _, err := c.conn.Write([]byte("x\n")); err != nil {
						continue
					}
					if line, err := c.r.ReadString('\n'); err == nil && strings.HasSuffix(line, " x\n") {
						alone++
					}
				}
				if alone != 1 {
					t.Fatalf("%d connections live on: %s", alone, said)
				}
			default:
				for _, c := range clients {
					c.want("bye 1012 server reloads")
				}
				if r.Drained != 2 {
					t.Fatalf("%+v", r)
				}
			}
			if st := s.status(); st.WorkerRestarts != 0 {
				t.Fatalf("%+v", st)
			}
		})
	}
}
