//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// subscriber is a member of a room that counts pushes, light enough for thousands in a test. Until
// it has ended, only its reader accesses it.
type subscriber struct {
	traffic
	next  [2]int // next number of each sender
	order uint64 // checksum of the order of all pushes
	seen  atomic.Int64
	fault error
}

var orderSeed = maphash.MakeSeed()

// listen reads pushes until the connection ends.
func (u *subscriber) listen() {
	r := &rawConn{nc: u.nc, br: u.br}
	for {
		first, p, err := r.frame()
		if err == nil && first == 0x88 {
			err = fmt.Errorf("close frame %q", p)
		}
		if err != nil {
			u.fault = fmt.Errorf("after %d pushes: %w", u.seen.Load(), err)
			return
		}
		if first != 0x81 {
			continue
		}
		_, param, ok := bytes.Cut(p, []byte(`"param":[`))
		from, number, ok2 := bytes.Cut(bytes.TrimSuffix(param, []byte(`]}`)), []byte(","))
		if !ok || !ok2 || !bytes.Contains(p, []byte(`"event":"n"`)) {
			u.fault = fmt.Errorf("nobody has sent %.200s", p)
			return
		}
		i, _ := strconv.Atoi(string(from))
		n, _ := strconv.Atoi(string(number))
		if i < 0 || i > 1 || n != u.next[i] {
			u.fault = fmt.Errorf("push %d of sender %d came, wanted %d", n, i, u.next)
			return
		}
		u.next[i]++
		u.order = maphash.Bytes(orderSeed, strconv.AppendUint(param, u.order, 10))
		u.seen.Add(1)
	}
}

// text returns the next text frame. Pings may arrive before it.
func (u *subscriber) text() ([]byte, error) {
	r := &rawConn{nc: u.nc, br: u.br}
	for {
		switch first, p, err := r.frame(); {
		case err != nil:
			return nil, err
		case first == 0x81:
			return p, nil
		case first != 0x89:
			return nil, fmt.Errorf("frame %#x %q", first, p)
		}
	}
}

// crowdOf connects many subscribers to node 0.
func (n *nodes) crowdOf(count int, room string) []*subscriber {
	n.t.Helper()
	list := make([]*subscriber, count)
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	gate := make(chan struct{}, 32)
	for i := range list {
		list[i] = &subscriber{}
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			u := list[i]
			err := u.dial(n.list[0].outside, n.token(fmt.Sprint("u", i)))
			if err == nil {
				_, err = u.nc.Write(encode(0x81, fmt.Appendf(nil, `{"method":"hall.join","room":%q,"id":1}`, room)))
			}
			if err == nil {
				_, err = u.text()
			}
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	wg.Wait()
	n.t.Cleanup(func() {
		for _, u := range list {
			if u.nc != nil {
				_ = u.nc.Close()
			}
		}
	})
	if err := failed.Load(); err != nil {
		n.t.Fatal(*err)
	}
	return list
}

// During reloads, a client sends without pause, and an action continues to send. Every subscriber
// receives everything once and in the same order, and stays connected. E2E_CONNECTIONS sets the
// number of subscribers.
func TestReloadWhileBroadcasting(t *testing.T) {
	count := 2000
	if v, err := strconv.Atoi(os.Getenv("E2E_CONNECTIONS")); err == nil {
		count = v
	}
	n := startNodes(t, nil, 1, nil, "WSFRAME_APP_LIMITS_MAX_CONNECTIONS=0")
	members := n.crowdOf(count, "hall")
	var reading sync.WaitGroup
	for _, u := range members {
		_ = u.nc.SetDeadline(time.Time{})
		reading.Go(u.listen)
	}
	client, action := n.member(0, "client", ""), n.member(0, "action", "")
	sent := [2]int{}
	stopped := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() { // several requests at once, then their replies
		for {
			var answers []chan answer
			for range 4 {
				ch, err := client.ask("hall.send", map[string]any{"room": "hall", "from": 0, "number": sent[0]})
				if err != nil {
					t.Error(err)
					return
				}
				sent[0]++
				answers = append(answers, ch)
			}
			for _, ch := range answers {
				if _, err := client.wait(ch); err != nil {
					t.Error(err)
					return
				}
			}
			select {
			case <-stopped:
				return
			case <-time.After(time.Duration(count) * 10 * time.Microsecond): // the clients share the machine
			}
		}
	})
	for range 2 {
		done, err := action.ask("hall.burst", map[string]any{"room": "hall", "from": 1, "number": sent[1], "count": 60, "pause": 25})
		if err != nil {
			t.Fatal(err)
		}
		before := members[0].seen.Load()
		until(t, "some pushes", func() bool { return members[0].seen.Load() > before+10 })
		out := n.list[0].ok("-s", "reload")
		t.Log(strings.TrimSpace(out))
		if !strings.Contains(out, fmt.Sprintf("%d connections moved, 0 drained", count+2)) {
			t.Errorf("reload: %s", out)
		}
		if _, err := action.wait(done); err != nil {
			t.Fatal(err)
		}
		sent[1] += 60
	}
	close(stopped)
	sending.Wait()
	total := int64(sent[0] + sent[1])
	missing := func(u *subscriber) bool { return u.seen.Load() < total }
	for end := time.Now().Add(wait); slices.ContainsFunc(members, missing) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	for _, u := range members {
		_ = u.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // a push that arrives now is unexpected
	}
	reading.Wait()
	t.Logf("%d and %d pushes to each of %d subscribers", sent[0], sent[1], count)
	for i, u := range members {
		switch {
		case !errors.Is(u.fault, os.ErrDeadlineExceeded):
			t.Fatalf("subscriber %d: %v", i, u.fault)
		case u.next != sent:
			t.Fatalf("subscriber %d got %v of %v", i, u.next, sent)
		case u.order != members[0].order:
			t.Fatalf("subscriber %d got them in another order", i)
		}
	}
	if st := n.list[0].status(); st.Connections != count+2 || st.ClosedSlow != 0 {
		t.Errorf("%+v", st)
	}
}

// descriptors returns the number of open files of a process.
func descriptors(pid int) int {
	f, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	return len(names)
}

// Either worker is killed when part of the connections has moved. If the new one dies, no client
// notices. If the old one dies, the moved connections continue, and the close listener runs once
// for each of the others.
func TestKilledInTheMiddleOfTheMove(t *testing.T) {
	for _, victim := range []string{"new", "old"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			const count = 2500
			for try := range 8 {
				n := startNodes(t, nil, 1, nil)
				s := n.list[0]
				members := n.crowdOf(count, "hall")
				old := n.worker(0)
				type result struct {
					out, errs string
					code      int
				}
				reloaded := make(chan result, 1)
				go func() {
					var r result
					r.out, r.errs, r.code = s.run("-s", "reload")
					reloaded <- r
				}()
				next, come := 0, 0
				for end := time.Now().Add(wait); come < count/4 && time.Now().Before(end); {
					if next != 0 {
						come = descriptors(next)
						continue
					}
					for _, pid := range children(s.cmd.Process.Pid) {
						if pid != old {
							next = pid
						}
					}
				}
				pid := map[string]int{"new": next, "old": old}[victim]
				_ = syscall.Kill(pid, syscall.SIGKILL)
				r := <-reloaded
				if n.ended(members) == 0 && victim == "old" || strings.Contains(r.out, "0 drained") && r.code == 0 && victim == "new" {
					t.Logf("try %d: too late, or all had come over: %s%s", try, r.out, r.errs)
					continue
				}
				n.afterKill(victim, members, r.out+r.errs, r.code)
				return
			}
			t.Fatal("never in the middle")
		})
	}
}

// ended returns the number of members whose connection has ended.
func (n *nodes) ended(members []*subscriber) (ended int) {
	n.t.Helper()
	var wg sync.WaitGroup
	var dead atomic.Int64
	for _, u := range members {
		wg.Go(func() {
			_ = u.nc.SetDeadline(time.Now().Add(wait))
			u.fault = nil
			_, err := u.nc.Write(encode(0x81, []byte("2")))
			var p []byte
			if err == nil {
				p, err = u.text()
			}
			if err != nil || string(p) != "3" {
				u.fault = fmt.Errorf("%q %v", p, err)
			}
			if u.fault != nil {
				dead.Add(1)
			}
		})
	}
	wg.Wait()
	return int(dead.Load())
}

func (n *nodes) afterKill(victim string, members []*subscriber, said string, code int) {
	t := n.t
	t.Helper()
	dead := n.ended(members)
	t.Logf("%d of %d connections ended; exit code %d: %s", dead, len(members), code, strings.TrimSpace(said))
	switch victim {
	case "new":
		if dead != 0 || code == 0 || !strings.Contains(said, "the old one goes on") {
			t.Error("the old worker was to go on with all, and the console to say so")
		}
	case "old":
		if dead == 0 || dead == len(members) || code != 0 || !strings.Contains(said, "the old worker ended in the middle of the transfer") ||
			!strings.Contains(said, fmt.Sprintf("%d connections moved", len(members)-dead)) {
			t.Error("the new worker was to go on with those that had come over, and the console to say so")
		}
	}
	if code == 0 {
		until(t, "who died is told of", func() bool { times, _ := n.closeCalls(); return len(times) >= dead })
	}
	// All remaining connections end now, and the listener runs once for each connection.
	for _, u := range members {
		_ = u.nc.Close()
	}
	until(t, "all are told of", func() bool { times, _ := n.closeCalls(); return len(times) >= len(members) })
	until(t, "nobody is connected", func() bool { return n.list[0].status().Connections == 0 })
	times, _ := n.closeCalls()
	for fd, k := range times {
		if k != 1 {
			t.Errorf("the close listener of %d was told %d times", fd, k)
		}
	}
}

// Clients connect and disconnect during several reloads. The close listener runs once for each
// ended connection, and for none that moved.
func TestCloseListenersAcrossReloads(t *testing.T) {
	t.Parallel()
	n := startNodes(t, nil, 1, nil)
	stay := n.crowd(200, 0, "stay", "hall")
	stopped := make(chan struct{})
	var gone sync.Map
	var coming sync.WaitGroup
	for i := range 8 {
		coming.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-stopped:
					return
				default:
				}
				m, err := n.join(0, fmt.Sprint("guest", i), "hall", "")
				if err != nil {
					t.Errorf("guest %d: %v", i, err)
					return
				}
				gone.Store(m.fd, true)
				switch k % 3 {
				case 0: // with a close frame
					_, _ = m.nc.Write(encode(0x88, []byte{3, 232}))
				case 1: // by an action
					_ = m.call("hall.bye", nil)
				case 2: // without a close frame
					_ = m.nc.Close()
				}
				<-m.ended
				_ = m.nc.Close()
			}
		})
	}
	for range 4 {
		if out := n.list[0].ok("-s", "reload"); !strings.Contains(out, ", 0 drained") {
			t.Errorf("reload: %s", out)
		}
	}
	close(stopped)
	coming.Wait()
	count := 0
	gone.Range(func(any, any) bool { count++; return true })
	until(t, "who has gone is told of", func() bool { times, _ := n.closeCalls(); return len(times) >= count })
	times, _ := n.closeCalls()
	t.Logf("%d came and went", count)
	check := func(want int) {
		t.Helper()
		for fd, k := range times {
			if k != 1 {
				t.Errorf("the close listener of %d was told %d times", fd, k)
			}
		}
		if len(times) != want {
			t.Errorf("it was told of %d connections, %d have ended", len(times), want)
		}
	}
	check(count)
	for _, m := range stay {
		if times[m.fd] != 0 {
			t.Errorf("%d has only moved", m.fd)
		}
		m.must(t, "hall.leave", map[string]any{"room": "other"})
		_ = m.nc.Close()
	}
	until(t, "the others, too", func() bool { times, _ = n.closeCalls(); return len(times) >= count+len(stay) })
	check(count + len(stay))
}
