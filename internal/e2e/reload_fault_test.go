//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wsframe/library/db"
)

type reloaded struct {
	out, errs string
	code      int
}

// reload starts a reload, and returns a channel for its result.
func (s *server) reload() chan reloaded {
	done := make(chan reloaded, 1)
	go func() {
		var r reloaded
		r.out, r.errs, r.code = s.run("-s", "reload")
		done <- r
	}()
	return done
}

// nextWorker waits until another worker serves.
func (s *server) nextWorker(old int) (pid int) {
	s.t.Helper()
	until(s.t, "the new worker serves", func() bool { pid = s.status().WorkerPID; return pid != 0 && pid != old })
	return pid
}

// The new worker is killed when it owns the connections, while the old one still waits for an
// action or a handshake. Another worker starts at once and cleans up.
func TestNewWorkerKilledWithTheConnections(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after time.Duration
	}{{"action", 0}, {"action", 200 * time.Millisecond}, {"handshake", 0}} {
		t.Run(fmt.Sprint(tc.name, tc.after), func(t *testing.T) {
			t.Parallel()
			n := startNodes(t, nil, 1, nil, "WSFRAME_APP_LIMITS_RELOAD_DRAIN=10m", "WSFRAME_APP_LIMITS_HANDSHAKE_TIMEOUT=10s")
			s := n.list[0]
			old := n.worker(0)
			list := n.crowd(20, 0, "guest", "hall")
			if tc.name == "action" {
				if _, err := list[0].ask("hall.burst", map[string]any{"room": "elsewhere", "count": 1, "pause": 600_000}); err != nil {
					t.Fatal(err)
				}
			} else {
				half, err := net.Dial("tcp", s.outside)
				if err != nil {
					t.Fatal(err)
				}
				defer half.Close()
				fmt.Fprint(half, "GET / HTTP/1.1\r\n")
				list[0].must(t, "hall.leave", nil) // a reply shows that the connection was accepted
			}
			done := s.reload()
			pid := s.nextWorker(old)
			time.Sleep(tc.after) // varies the moment of the kill
			_ = syscall.Kill(pid, syscall.SIGKILL)
			r := <-done
			if r.code == 0 || !strings.Contains(r.errs, "20 connections with it; it is restarted") {
				t.Errorf("exit code %d: %s%s", r.code, r.out, r.errs)
			}
			late := n.member(0, "late", "hall")
			for _, m := range list {
				<-m.ended
			}
			until(t, "all are told of", func() bool { times, _ := n.closeCalls(); return len(times) >= len(list) })
			times, _ := n.closeCalls()
			for fd, k := range times {
				if k != 1 || fd == late.fd {
					t.Errorf("the close listener of %d was told %d times", fd, k)
				}
			}
			if st := s.status(); st.WorkerRestarts != 1 || st.Connections != 1 {
				t.Errorf("%+v", st)
			}
			if out := s.ok("-s", "reload"); !strings.Contains(out, "1 connections moved, 0 drained") {
				t.Errorf("the next reload: %s", out)
			}
			late.must(t, "hall.leave", nil)
		})
	}
}

// While a reload waits for an action, the new worker serves, and a stop does not wait for the
// action.
func TestStopWhileAReloadWaits(t *testing.T) {
	t.Parallel()
	n := startNodes(t, nil, 1, nil, "WSFRAME_APP_LIMITS_RELOAD_DRAIN=10m", "WSFRAME_APP_LIMITS_STOP_GRACE=5s")
	s := n.list[0]
	busy, idle := n.member(0, "busy", "hall"), n.member(0, "idle", "hall")
	if _, err := busy.ask("hall.burst", map[string]any{"room": "elsewhere", "count": 1, "pause": 600_000}); err != nil {
		t.Fatal(err)
	}
	before, old := s.status(), n.worker(0)
	done := s.reload()
	s.nextWorker(old)
	idle.must(t, "hall.leave", nil)
	if st := s.status(); st.Connections != 2 || st.MessagesIn <= before.MessagesIn || st.MessagesOut < before.MessagesOut || st.BytesIn <= before.BytesIn {
		t.Errorf("before %+v\nthen %+v", before, st)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
		if s.exit != nil {
			t.Errorf("exit: %v", s.exit)
		}
	case <-time.After(wait):
		t.Fatal("SIGTERM does not end it")
	}
	<-done
	for _, m := range []*member{busy, idle} {
		<-m.ended
		if code, _ := m.closed(); code != 1001 {
			t.Errorf("closed with %d", code)
		}
	}
}

// An action that exceeds the limit is reported, and its connection continues in the new worker.
func TestReloadNamesWhatOutlivesIt(t *testing.T) {
	t.Parallel()
	n := startNodes(t, nil, 1, nil, "WSFRAME_APP_LIMITS_RELOAD_DRAIN=1s")
	busy, idle := n.member(0, "busy", "hall"), n.member(0, "idle", "hall")
	if _, err := busy.ask("hall.burst", map[string]any{"room": "elsewhere", "count": 1, "pause": 600_000}); err != nil {
		t.Fatal(err)
	}
	idle.must(t, "hall.leave", map[string]any{"room": "elsewhere"})
	out := n.list[0].ok("-s", "reload")
	if !strings.Contains(out, fmt.Sprintf("1 actions outlived the limit; their answers are lost: index.hall.burst of connection %d\n", busy.fd)) ||
		!strings.Contains(out, "2 connections moved, 0 drained") || strings.Contains(out, "old worker") || strings.Contains(out, "old process") {
		t.Errorf("%s", out)
	}
	busy.must(t, "hall.leave", map[string]any{"room": "elsewhere"})
}

// Without free descriptors, a reload still moves all connections.
func TestReloadOutOfDescriptors(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	s.launchAs(exec.Command("/bin/sh", "-c", `ulimit -n 150; exec "$0" -s start -c "$1"`, console, s.config), wait)
	token := s.token("guest", "g")
	var users []*traffic
	full := func() bool {
		u := &traffic{}
		nc, err := net.Dial("tcp", s.outside)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		_ = nc.SetDeadline(time.Now().Add(3 * time.Second)) // this connection stays in the kernel's queue
		if err := u.open(nc, token); err != nil {
			_ = nc.Close()
			return true
		}
		_ = nc.SetDeadline(time.Now().Add(2 * time.Minute))
		users = append(users, u)
		return false
	}
	for !full() {
		if len(users) > 150 {
			t.Fatal("there is no end")
		}
	}
	for range 3 {
		if out := s.ok("-s", "reload"); !strings.Contains(out, " connections moved, 0 drained") {
			t.Fatalf("%d are connected: %s", len(users), out)
		}
		for i, u := range users {
			if err := u.ask("index", 0); err != nil {
				t.Fatalf("user %d of %d: %v", i, len(users), err)
			}
		}
	}
	t.Logf("%d connections", len(users))
	if st := s.status(); st.WorkerRestarts != 0 {
		t.Errorf("%+v", st)
	}
}

// However long OnReload takes, new clients are served together with the existing ones.
func TestNewcomersDuringOnReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, gate := filepath.Join(dir, "console"), filepath.Join(dir, "gate")
	buildDesk(t, path, "// First has", `// OnReload waits.
func (*Clerk) OnReload(context.Context) error {
	for {
		if _, err := os.Stat(`+"`"+gate+"`"+`); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// First has`, "import (", `import (
	"context"`)
	s := prepare(t)
	s.serve(path)
	token := s.token("guest", "g")
	come := func() {
		t.Helper()
		u := &traffic{}
		if err := u.dial(s.outside, token); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = u.nc.Close() })
	}
	come()
	old, count := s.status().WorkerPID, 1
	done := s.reload()
	until(t, "the new worker is ready", func() bool { return strings.Count(logsOf(t, s), "worker is ready") == 2 })
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); count++ {
		come()
		time.Sleep(50 * time.Millisecond)
	}
	if st := s.status(); st.WorkerPID != old || st.Connections != count {
		t.Errorf("of %d connections: %+v", count, st)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.code != 0 || !strings.Contains(r.out, fmt.Sprintf("%d connections moved, 0 drained", count)) {
		t.Errorf("%+v", r)
	}
}

func logsOf(t *testing.T, s *server) string {
	t.Helper()
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(s.dir, "logs", "*.log"))
	for _, f := range files {
		all.Write(copyOf(t, f))
	}
	return all.String()
}

// A check changes nothing in the database; a reload does.
func TestReloadCheckDoesNotMigrate(t *testing.T) {
	t.Parallel()
	s := start(t)
	orm, err := db.Open(t.Context(), db.Options{Driver: "sqlite", DSN: filepath.Join(s.dir, "wsframe.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(orm)
	const table = "live_wall_message"
	if !orm.Migrator().HasTable(table) {
		t.Fatal("a start makes no table")
	}
	if err := orm.Migrator().DropTable(table); err != nil {
		t.Fatal(err)
	}
	s.ok("-s", "reload", "-check")
	if orm.Migrator().HasTable(table) {
		t.Error("-check has made the table")
	}
	s.ok("-s", "reload")
	if !orm.Migrator().HasTable(table) {
		t.Error("a reload makes no table")
	}
}

// The old worker is killed after the connections have moved. Clients that wait for an action in it
// are closed and repeat their requests; others stay connected.
func TestOldWorkerKilledWithAnAction(t *testing.T) {
	t.Parallel()
	n := startNodes(t, nil, 1, nil, "WSFRAME_APP_LIMITS_RELOAD_DRAIN=10m")
	s := n.list[0]
	busy, idle := n.member(0, "busy", "hall"), n.member(0, "idle", "hall")
	if _, err := busy.ask("hall.burst", map[string]any{"room": "elsewhere", "count": 1, "pause": 600_000}); err != nil {
		t.Fatal(err)
	}
	old := n.worker(0)
	done := s.reload()
	s.nextWorker(old)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-busy.ended
	if code, _ := busy.closed(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
	if r := <-done; r.code != 0 || !strings.Contains(r.out, "1 actions ended with the old worker") {
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.errs)
	}
	idle.must(t, "hall.leave", nil)
}
