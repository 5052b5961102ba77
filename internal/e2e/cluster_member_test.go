//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wsframe/framework/auth"
)

// note is a push with the number from its sender.
type note struct{ from, number int }

// member is a connection that records every push.
type member struct {
	node int
	fd   int64
	uid  string
	nc   net.Conn
	mute atomic.Bool // do not answer pings

	mu        sync.Mutex
	got       []note
	offsets   []int64 // offsets of got; 0 = none
	epoch     string
	recovered []recovered
	waiting   map[int]chan answer
	last      int
	code      int // of the close frame
	ended     chan struct{}
}

type recovered struct {
	Recovered bool
	Count     int
	Offset    int64
	Reason    string
}

type answer struct {
	Status int
	Event  string
	Info   string
	Param  json.RawMessage
}

func (a answer) err() error {
	if a.Status != 200 {
		return fmt.Errorf("%d %s %s", a.Status, a.Event, a.Info)
	}
	return nil
}

func (n *nodes) token(uid string) string {
	token, err := n.tokens.Issue(auth.Identity{ID: uid, Type: "wechatUser", Code: "A", Nickname: uid})
	if err != nil {
		n.t.Fatal(err)
	}
	return token
}

// open connects a user to a node. query follows the token in the URL.
func (n *nodes) open(node int, uid, query string) (*member, error) {
	nc, err := net.DialTimeout("tcp", n.list[node].outside, wait)
	if err != nil {
		return nil, err
	}
	_ = nc.SetReadDeadline(time.Now().Add(wait))
	fmt.Fprintf(nc, "GET /?auth=%s%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		n.token(uid), query)
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	if err == nil && resp.StatusCode != 101 {
		err = fmt.Errorf("handshake: %s", resp.Status)
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	_ = nc.SetReadDeadline(time.Time{})
	m := &member{node: node, uid: uid, nc: nc, waiting: map[int]chan answer{}, ended: make(chan struct{})}
	go m.read(br)
	return m, nil
}

// join connects a user that joins a room, if room is not empty, and has the close listener.
func (n *nodes) join(node int, uid, room, query string) (*member, error) {
	m, err := n.open(node, uid, query)
	if err != nil {
		return nil, err
	}
	return m, m.call("hall.join", map[string]any{"room": room}, &m.fd)
}

func (n *nodes) member(node int, uid, room string) *member {
	n.t.Helper()
	m, err := n.join(node, uid, room, "")
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = m.nc.Close(); <-m.ended })
	return m
}

// crowd connects many users at the same time.
func (n *nodes) crowd(count, node int, uid, room string) []*member {
	n.t.Helper()
	list, errs := make([]*member, count), make([]error, count)
	var wg sync.WaitGroup
	gate := make(chan struct{}, 32)
	for i := range list {
		gate <- struct{}{}
		wg.Go(func() { list[i], errs[i] = n.join(node, fmt.Sprint(uid, i), room, ""); <-gate })
	}
	wg.Wait()
	n.t.Cleanup(func() {
		for _, m := range list {
			if m != nil {
				_ = m.nc.Close()
				<-m.ended
			}
		}
	})
	if err := errors.Join(errs...); err != nil {
		n.t.Fatal(err)
	}
	return list
}

func (m *member) read(br *bufio.Reader) {
	defer close(m.ended)
	r := &rawConn{nc: m.nc, br: br}
	for {
		first, p, err := r.frame()
		if err != nil {
			return
		}
		switch first {
		case 0x81:
			m.take(p)
		case 0x88:
			m.mu.Lock()
			if m.code = 1005; len(p) >= 2 {
				m.code = int(p[0])<<8 | int(p[1])
			}
			m.mu.Unlock()
			_, _ = m.nc.Write(encode(0x88, p))
		case 0x89:
			if !m.mute.Load() {
				_, _ = m.nc.Write(encode(0x8a, p))
			}
		}
	}
}

func (m *member) take(p []byte) {
	var f struct {
		answer
		ID     int
		Offset int64
		Epoch  string
	}
	_ = json.Unmarshal(p, &f) // other frames are ignored
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case f.ID != 0:
		if ch := m.waiting[f.ID]; ch != nil {
			delete(m.waiting, f.ID)
			ch <- f.answer
		}
	case f.Event == "n":
		var n [2]int
		_ = json.Unmarshal(f.Param, &n)
		m.got, m.offsets = append(m.got, note{n[0], n[1]}), append(m.offsets, f.Offset)
		if f.Epoch != "" {
			m.epoch = f.Epoch
		}
	case f.Event == "sysRecovered":
		var r recovered
		_ = json.Unmarshal(f.Param, &r)
		m.recovered = append(m.recovered, r)
	case f.Event == "sysPosition": // later pushes contain their own position
	default:
		m.got, m.offsets = append(m.got, note{-1, len(p)}), append(m.offsets, 0) // an unknown push
	}
}

var errEnded = errors.New("the connection has ended")

// ask sends a request and returns a channel for its reply.
func (m *member) ask(method string, data map[string]any) (chan answer, error) {
	if data == nil {
		data = map[string]any{}
	}
	ch := make(chan answer, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	data["method"], data["id"] = method, m.last
	b, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	m.waiting[m.last] = ch
	_, err = m.nc.Write(encode(0x81, b))
	return ch, err
}

func (m *member) wait(ch chan answer) (answer, error) {
	select {
	case a := <-ch:
		return a, a.err()
	case <-m.ended:
	case <-time.After(wait):
		return answer{}, errors.New("no answer")
	}
	select {
	case a := <-ch: // either channel may win
		return a, a.err()
	default:
		return answer{}, errEnded
	}
}

func (m *member) call(method string, data map[string]any, param ...any) error {
	ch, err := m.ask(method, data)
	if err != nil {
		return err
	}
	a, err := m.wait(ch)
	if err == nil && len(param) > 0 {
		err = json.Unmarshal(a.Param, param[0])
	}
	if err != nil {
		return fmt.Errorf("%s on node %d: %w", method, m.node, err)
	}
	return nil
}

func (m *member) must(t testing.TB, method string, data map[string]any, param ...any) {
	t.Helper()
	if err := m.call(method, data, param...); err != nil {
		t.Fatal(err)
	}
}

func (m *member) notes() []note {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.got)
}

func (m *member) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.got)
}

// closed waits for the end of the connection, and returns the code of the close frame, or 0 without
// one.
func (m *member) closed() (code int, ended bool) {
	select {
	case <-m.ended:
	default:
		return 0, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.code, true
}

// speakers send to a room from each node, independently of each other.
type speakers struct {
	t       *testing.T
	list    []*speaker
	stopped chan struct{}
	wg      sync.WaitGroup
	emptied bool // Redis was emptied: lost pushes may have different orders on the nodes
}

type speaker struct {
	*member
	sent    int
	refused int
	slowest time.Duration // answer
	failed  error
}

// speak starts to send at a rate from each of the given nodes, or from all nodes. If keep is not 0,
// the history keeps the pushes.
func (n *nodes) speak(room string, perSecond, keep int, from ...int) *speakers {
	n.t.Helper()
	x := &speakers{t: n.t, stopped: make(chan struct{})}
	for i := range n.list {
		if len(from) > 0 && !slices.Contains(from, i) {
			continue
		}
		s := &speaker{member: n.member(i, fmt.Sprintf("speaker-%s-%d", room, i), "")}
		x.list = append(x.list, s)
	}
	for i, s := range x.list {
		x.wg.Go(func() { s.failed = s.run(x.stopped, i, room, perSecond, keep) })
	}
	return x
}

func (s *speaker) run(stopped chan struct{}, from int, room string, perSecond, keep int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	type asked struct {
		ch chan answer
		at time.Time
	}
	var open []asked
	settle := func(all bool) error {
		for len(open) > 0 && (all || len(open) > 256) {
			a, err := s.wait(open[0].ch)
			s.slowest = max(s.slowest, time.Since(open[0].at))
			switch {
			case a.Status == 599:
				s.refused++
			case err != nil:
				return err
			}
			open = open[1:]
		}
		return nil
	}
	for {
		select {
		case <-stopped:
			return settle(true)
		case <-tick.C:
		}
		for range perSecond / 100 {
			ch, err := s.ask("hall.send", map[string]any{"room": room, "from": from, "number": s.sent, "keep": keep})
			if err != nil {
				return err
			}
			open = append(open, asked{ch, time.Now()})
			s.sent++
		}
		if err := settle(true); err != nil { // the replies of one tick
			return err
		}
	}
}

// stop ends the sending, and returns the number of accepted pushes.
func (x *speakers) stop() (total int) {
	x.t.Helper()
	close(x.stopped)
	x.wg.Wait()
	for i, s := range x.list {
		if s.failed != nil || s.refused > 0 {
			x.t.Errorf("speaker %d: %v, %d of %d refused", i, s.failed, s.refused, s.sent)
		}
		total += s.sent
	}
	return total
}

func (x *speakers) sent() (n int) {
	for _, s := range x.list {
		s.mu.Lock()
		n += s.last
		s.mu.Unlock()
	}
	return n
}

func (x *speakers) slowest() (d time.Duration) {
	for _, s := range x.list {
		d = max(d, s.slowest)
	}
	return d
}

// check waits until all members have received everything. It reports lost and duplicated pushes,
// pushes out of a sender's order, and orders that differ between members.
func (x *speakers) check(members []*member) {
	x.t.Helper()
	total := 0
	for _, s := range x.list {
		total += s.sent
	}
	for end := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		if !slices.ContainsFunc(members, func(m *member) bool { return m.count() < total }) || time.Now().After(end) {
			break
		}
	}
	var lost, doubled, disordered, foreign, differing int
	first := members[0].notes()
	for _, m := range members {
		got := m.notes()
		if !slices.Equal(got, first) {
			differing++
		}
		next := make([]int, len(x.list))
		seen := map[note]bool{}
		for _, n := range got {
			switch {
			case n.from < 0 || n.from >= len(next):
				foreign++
				continue
			case seen[n]:
				doubled++
				continue
			case n.number < next[n.from]:
				disordered++
			}
			seen[n] = true
			next[n.from] = max(next[n.from], n.number+1)
		}
		lost += total - len(seen)
	}
	x.t.Logf("%d pushes sent by %d nodes, %d members: %d received, %d lost, %d duplicated, %d out of order, %d of others, %d members with another order; slowest answer %v",
		total, len(x.list), len(members), total*len(members)-lost, lost, doubled, disordered, foreign, differing, x.slowest().Round(time.Millisecond))
	if lost+doubled+disordered+foreign > 0 || differing > 0 && !x.emptied {
		x.t.Error("not everything came once and in order")
	}
}
