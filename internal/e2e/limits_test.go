//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"wsframe/framework/manager"
)

// Without free descriptors, the server serves existing connections, does not fill the log, and
// accepts again once some are free (promise L8).
func TestOutOfDescriptors(t *testing.T) {
	s := start(t)
	token := s.token("guest", "g")
	p := dial(t, s.outside, token)
	worker := s.status().WorkerPID
	used, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", worker))
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	few := unix.Rlimit{Cur: uint64(len(used)) + 4, Max: uint64(len(used)) + 4}
	if err := unix.Prlimit(worker, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	few.Max = old.Max
	if err := unix.Prlimit(worker, unix.RLIMIT_NOFILE, &few, nil); err != nil {
		t.Fatal(err)
	}
	var waiting []net.Conn
	for range 50 {
		nc, err := net.Dial("tcp", s.outside)
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, nc)
	}
	until(t, "it runs out", func() bool { return strings.Contains(s.log(), "too many open files") })
	before := cpuTicks(t, worker)
	begun := time.Now()
	for range 20 {
		p.send("2")
		p.want("3")
		time.Sleep(100 * time.Millisecond)
	}
	passed := time.Since(begun).Seconds()
	if used := float64(cpuTicks(t, worker)-before) / 100; used > passed/2 {
		t.Errorf("it used %.1f s of CPU in %.1f s", used, passed)
	}
	if n := strings.Count(s.log(), "too many open files"); float64(n) > 2*passed+8 {
		t.Errorf("%d lines in %.1f s", n, passed)
	}
	for _, nc := range waiting {
		_ = nc.Close()
	}
	if err := unix.Prlimit(worker, unix.RLIMIT_NOFILE, &old, nil); err != nil {
		t.Fatal(err)
	}
	again := dial(t, s.outside, token)
	again.send("2")
	again.want("3")
}

func cpuTicks(t *testing.T, pid int) (ticks int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var user, system int
	if _, err := fmt.Sscanf(strings.Join(strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))[11:13], " "), "%d %d", &user, &system); err != nil {
		t.Fatal(err)
	}
	return user + system
}

// A hundred clients that never read cost a bounded amount of memory, whatever is pushed (promise
// L5: 1 GiB in total). Clients that read receive everything.
func TestNonReaders(t *testing.T) {
	s := start(t)
	token := s.token("guest", "g")
	reader := dial(t, s.outside, token)
	reader.ws.SetReadLimit(1 << 20)
	got := make(chan int, 1)
	go func() {
		n := 0
		for {
			text, err := reader.receive()
			if err != nil {
				break
			}
			if strings.Contains(text, "serverBroadcast") {
				n++
			}
		}
		got <- n
	}()
	const clients = 100
	for range clients {
		dial(t, s.outside, token) // and never read
	}
	until(t, "all there", func() bool { return s.status().Connections == clients+1 })
	before := s.status().MemoryBytes
	admin, err := manager.Dial(t.Context(), s.manager, "")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	text := strings.Repeat("x", 15_000)
	const times = 720 // 100 × 720 × 15 kB are 1 GiB in all
	grown := int64(0)
	for i := range times {
		if _, err := admin.Say(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			st, err := admin.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			grown = max(grown, st.MemoryBytes-before)
		}
	}
	if limit := int64(clients<<20 + 64<<20); grown > limit {
		t.Errorf("memory grew by %d MB, more than %d", grown>>20, limit>>20)
	}
	until(t, "the others are closed as slow", func() bool { st := s.status(); return st.Connections == 1 && st.ClosedSlow == clients })
	s.ok("-s", "stop")
	if n := <-got; n != times {
		t.Errorf("the reader got %d of %d", n, times)
	}
}

// patient configures outboxes for everything that a test sends, so that no slow client is closed.
var patient = []string{
	"WSFRAME_APP_LIMITS_STOP_GRACE=90s", "WSFRAME_APP_LIMITS_WRITE_TIMEOUT=90s", "WSFRAME_APP_LIMITS_OUTBOX_BYTES=67108864", "WSFRAME_APP_LIMITS_OUTBOX_MESSAGES=100000",
	"WSFRAME_APP_LOG_LEVEL=debug",
}

// congest pushes to clients that do not read until data of each of them waits in the server. It
// returns the number of pushes.
func (s *server) congest() (said int) {
	s.t.Helper()
	admin, err := manager.Dial(s.t.Context(), s.manager, "")
	if err != nil {
		s.t.Fatal(err)
	}
	defer admin.Close()
	text := strings.Repeat("x", 15_000)
	until(s.t, "all outboxes hold something", func() bool {
		for range 50 {
			if _, err := admin.Say(s.t.Context(), text); err != nil {
				s.t.Fatal(err)
			}
			said++
		}
		list, err := admin.Connections(s.t.Context(), 0, 100)
		if err != nil {
			s.t.Fatal(err)
		}
		return !slices.ContainsFunc(list, func(c manager.ConnInfo) bool { return c.OutboxBytes == 0 })
	})
	return said
}

// At a stop, a client receives its waiting pushes before the 1001, every close listener runs once,
// and the exit code is 0 (promise S1).
func TestStop(t *testing.T) {
	s := start(t, patient...)
	token := s.token("wechatUser", "u")
	var peers []*peer
	for range 10 {
		p := dial(t, s.outside, token)
		p.send(`{"method":"live.user.join"}`)
		p.want("userJoinSuccess")
		peers = append(peers, p)
	}
	said := s.congest()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for i, p := range peers {
		got := 0
		text, err := p.receive()
		for ; err == nil; text, err = p.receive() {
			if strings.Contains(text, "serverBroadcast") {
				got++
			}
		}
		if code := websocket.CloseStatus(err); code != 1001 || got != said {
			t.Errorf("client %d got %d of %d, then %v", i, got, said, err)
		}
	}
	<-s.ended
	if s.exit != nil {
		t.Errorf("exit: %v", s.exit)
	}
	if n := strings.Count(s.log(), "user left the room"); n != len(peers) {
		t.Errorf("OnClose ran %d times for %d clients", n, len(peers))
	}
}

// A second signal ends the server at once, even if a client does not read (promise S1).
func TestStopTwice(t *testing.T) {
	s := start(t, patient...)
	token := s.token("guest", "g")
	dial(t, s.outside, token) // and never read
	reader := dial(t, s.outside, token)
	s.congest()
	term := func() {
		t.Helper()
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	term()
	reader.wantClose(1001) // the stop waits only for the other client
	term()
	select {
	case <-s.ended:
	case <-time.After(wait):
		t.Fatal("the second signal does not end it")
	}
}
