//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wsframe/framework/manager"
)

// Out of descriptors: existing connections are served, the log does not fill, and it accepts again once some are free (promise L8).
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

// Clients that never read cost a bounded amount (promise L5), and those that read get everything.
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
	for range 50 {
		dial(t, s.outside, token) // and never read
	}
	until(t, "all there", func() bool { return s.status().Connections == 51 })
	before := s.status().MemoryBytes
	admin, err := manager.Dial(t.Context(), s.manager, "")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	text := strings.Repeat("x", 15_000)
	const times = 600 // 50 × 600 × 15 kB = 450 MB in all
	for range times {
		if _, err := admin.Say(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	grown := s.status().MemoryBytes - before
	if limit := int64(50<<20 + 64<<20); grown > limit {
		t.Errorf("memory grew by %d MB, more than %d", grown>>20, limit>>20)
	}
	until(t, "the others are closed as slow", func() bool { st := s.status(); return st.Connections == 1 && st.ClosedSlow == 50 })
	s.ok("-s", "stop")
	if n := <-got; n != times {
		t.Errorf("the reader got %d of %d", n, times)
	}
}

// Stop under load: 1001 to all, the bookkeeping gone, exit 0; and a second signal has no more patience (promise S1).
func TestStop(t *testing.T) {
	s := start(t, "WSFRAME_APP_LIMITS_STOP_GRACE=4s")
	var peers []*peer
	token := s.token("guest", "g")
	for range 50 {
		peers = append(peers, dial(t, s.outside, token))
	}
	begun := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, p := range peers {
		p.wantClose(1001)
	}
	<-s.ended
	if s.exit != nil || time.Since(begun) > 15*time.Second {
		t.Fatalf("exit %v after %v", s.exit, time.Since(begun))
	}

	s = start(t)
	stubborn, err := net.Dial("tcp", s.outside) // never answers a close
	if err != nil {
		t.Fatal(err)
	}
	defer stubborn.Close()
	fmt.Fprintf(stubborn, "GET /?auth=%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", s.token("guest", "g"))
	until(t, "connected", func() bool { return s.status().Connections == 1 })
	begun = time.Now()
	for range 2 {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	<-s.ended
	if passed := time.Since(begun); passed > 10*time.Second {
		t.Fatalf("two signals took %v", passed)
	}
}
