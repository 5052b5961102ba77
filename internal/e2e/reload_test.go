//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// traffic is a user that sends requests without pause, with split frames, and counts the wall's
// pushes.
type traffic struct {
	nc     net.Conn
	br     *bufio.Reader
	asked  int
	heard  int
	failed error
}

func (u *traffic) dial(addr, token string) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	_ = nc.SetDeadline(time.Now().Add(2 * time.Minute))
	return u.open(nc, token)
}

// open makes the handshake.
func (u *traffic) open(nc net.Conn, token string) error {
	fmt.Fprintf(nc, "GET /?auth=%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", token)
	u.nc, u.br = nc, bufio.NewReader(nc)
	resp, err := http.ReadResponse(u.br, nil)
	if err == nil && resp.StatusCode != 101 {
		err = fmt.Errorf("handshake: %s", resp.Status)
	}
	return err
}

type heard struct {
	Event string
	ID    *int
	Param json.RawMessage
}

// next reads frames until the reply with an id. It counts pushes, which must be in order.
func (u *traffic) next(id int) error {
	r := &rawConn{nc: u.nc, br: u.br}
	for {
		first, p, err := r.frame()
		if err != nil {
			return fmt.Errorf("after %d requests and %d pushes: %w", u.asked, u.heard, err)
		}
		switch first {
		case 0x81:
		case 0x89:
			continue
		default:
			return fmt.Errorf("frame %#x %q", first, p)
		}
		var h heard
		if err := json.Unmarshal(p, &h); err != nil {
			return fmt.Errorf("not JSON: %.200q", p)
		}
		if h.Event == "wallSayBroadcast" {
			var row struct{ Say string }
			if err := json.Unmarshal(h.Param, &row); err != nil {
				return err
			}
			if n, _ := strconv.Atoi(row.Say); n != u.heard+1 {
				return fmt.Errorf("push %s after %d", row.Say, u.heard)
			}
			u.heard++
			continue
		}
		if h.ID == nil || *h.ID != id {
			return fmt.Errorf("reply %.200s, wanted the one to %d", p, id)
		}
		return nil
	}
}

func (u *traffic) ask(method string, pause time.Duration) error {
	u.asked++
	b := encode(0x81, fmt.Appendf(nil, `{"method":%q,"id":%d}`, method, u.asked))
	cut := 1 + u.asked%(len(b)-1)
	if _, err := u.nc.Write(b[:cut]); err != nil {
		return err
	}
	if pause > 0 {
		time.Sleep(pause)
	}
	if _, err := u.nc.Write(b[cut:]); err != nil {
		return err
	}
	return u.next(u.asked)
}

// Reloads under traffic disconnect nobody, and lose, duplicate or reorder nothing (promise S2).
func TestReloadUnderTraffic(t *testing.T) {
	n := 500
	if v, err := strconv.Atoi(os.Getenv("E2E_CONNECTIONS")); err == nil {
		n = v
	}
	s := start(t, "WSFRAME_APP_LIMITS_MESSAGE_RATE=0")
	token, wallToken := s.token("wechatUser", "u"), s.token("wall", "w")
	users := make([]*traffic, n)
	for i := range users {
		users[i] = &traffic{}
		if err := users[i].dial(s.outside, token); err != nil {
			t.Fatal(err)
		}
		defer users[i].nc.Close()
		if err := users[i].ask("live.user.join", 0); err != nil {
			t.Fatal(err)
		}
	}
	wall := dial(t, s.outside, wallToken)
	stop := make(chan struct{})
	var said atomic.Int64
	var wg sync.WaitGroup
	for i, u := range users {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if u.failed = u.ask("index", time.Duration(i%5)*time.Millisecond); u.failed != nil {
					return
				}
			}
		})
	}
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			k := said.Load() + 1
			wall.send(fmt.Sprintf(`{"method":"live.wall.say","say":"%d","id":%d}`, k, k))
			wall.want(fmt.Sprintf(`"id":%d}`, k))
			said.Store(k)
		}
	})
	old := s.status().WorkerPID
	for range 3 {
		out := s.ok("-s", "reload")
		t.Log(strings.TrimSpace(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]))
		if !strings.Contains(out, fmt.Sprintf("%d connections moved, 0 drained", n+1)) {
			t.Errorf("reload: %s", out)
		}
		if now := s.status().WorkerPID; now == old {
			t.Error("the worker is the same")
		} else {
			old = now
		}
	}
	close(stop)
	wg.Wait()
	total := 0
	for i, u := range users {
		if u.failed != nil {
			t.Fatalf("user %d: %v", i, u.failed)
		}
		for u.heard < int(said.Load()) { // the last pushes may still be on their way
			if err := u.ask("index", 0); err != nil {
				t.Fatalf("user %d: %v", i, err)
			}
		}
		total += u.asked
	}
	t.Logf("%d requests, %d pushes to each of %d users", total, said.Load(), n)
	// The bookkeeping moved, too, and the ends are reported once, by the new worker.
	if st := s.status(); st.Connections != n+1 || st.Rooms != 1 {
		t.Errorf("%+v", st)
	}
	for _, u := range users {
		_ = u.nc.Close()
	}
	until(t, "all gone", func() bool { return s.status().Connections == 1 })
}

// Either worker is killed during reloads. The remaining processes continue or end, and the server
// serves.
func TestKilledWhileReloading(t *testing.T) {
	s := start(t, "WSFRAME_APP_LIMITS_MESSAGE_RATE=0")
	token := s.token("guest", "g")
	for round := range 4 {
		var users []*traffic
		for range 200 {
			u := &traffic{}
			if err := u.dial(s.outside, token); err != nil {
				t.Fatal(err)
			}
			defer u.nc.Close()
			users = append(users, u)
		}
		old := s.status().WorkerPID
		done := make(chan struct{})
		go func() { defer close(done); s.run("-s", "reload") }()
		next := 0
		until(t, "the new worker", func() bool {
			for _, pid := range children(s.cmd.Process.Pid) {
				if pid != old {
					next = pid
				}
			}
			return next != 0
		})
		time.Sleep(time.Duration(round*15) * time.Millisecond)
		victim := next
		if round%2 == 1 {
			victim = old
		}
		_ = syscall.Kill(victim, syscall.SIGKILL) // the process may have ended
		<-done
		lost := 0
		for _, u := range users {
			_ = u.nc.SetDeadline(time.Now().Add(10 * time.Second))
			if u.ask("index", 0) != nil {
				lost++
			}
		}
		t.Logf("killed %d of %d, %d: %d of 200 connections ended", victim, old, next, lost)
		if round == 0 && lost > 0 {
			t.Errorf("the new worker died while it booted, and %d connections ended", lost)
		}
		u := &traffic{}
		until(t, "it serves", func() bool { return u.dial(s.outside, token) == nil && u.ask("index", 0) == nil })
		_ = u.nc.Close()
	}
}

func children(pid int) (list []int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(b)) {
		n, _ := strconv.Atoi(f)
		list = append(list, n)
	}
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for _, f := range strings.Fields(string(b)) {
			n, _ := strconv.Atoi(f)
			list = append(list, n)
		}
	}
	return list
}
