//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wsframe/framework/manager"
)

// self is the reply of the tests' controller about the calling connection.
type self struct {
	FD      int64                      `json:"fd"`
	PID     int                        `json:"pid"`
	Remote  string                     `json:"remote"`
	Rooms   []string                   `json:"rooms"`
	UIDs    []string                   `json:"uids"`
	Session map[string]json.RawMessage `json:"session"`
}

func (m *member) self(t testing.TB) (s self) {
	t.Helper()
	m.must(t, "hall.self", nil, &s)
	return s
}

// connections returns the server's data of each connection.
func (n *nodes) connections() map[int64]manager.ConnInfo {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	client, err := manager.Dial(ctx, n.list[0].manager, "")
	if err != nil {
		n.t.Fatal(err)
	}
	defer client.Close()
	list, err := client.Connections(ctx, 0, 1000)
	if err != nil {
		n.t.Fatal(err)
	}
	byFD := map[int64]manager.ConnInfo{}
	for _, c := range list {
		byFD[c.FD] = c
	}
	return byFD
}

// reload reloads, and checks the console's output.
func (n *nodes) reload(want string) {
	n.t.Helper()
	out := n.list[0].ok("-s", "reload")
	n.t.Log(strings.TrimSpace(out))
	if !strings.Contains(out, want) {
		n.t.Errorf("reload: %s\nwant %s", out, want)
	}
}

// Actions run during a reload and change their connections at its end. Meanwhile, another
// connection kicks one of them, and a handshake completes late. All changes are visible in the new
// worker, in Redis, and at the ends of the connections.
func TestActionAcrossReload(t *testing.T) {
	t.Parallel()
	n := startNodes(t, oneRedis(t), 1, nil)
	worker, other, kicked := n.member(0, "worker", ""), n.member(0, "other", "room"), n.member(0, "kicked", "")
	old := other.self(t).PID
	late := n.shaking(0, "late")
	reply, err := worker.ask("hall.work", map[string]any{
		"pause": 3000, "room": "room", "uid": "team", "key": "KEY", "values": map[string]any{"v": 1}, "from": 1, "number": 7,
	})
	if err != nil {
		t.Fatal(err)
	}
	last, err := kicked.ask("hall.burst", map[string]any{"room": "none", "count": 1, "pause": 2000})
	if err != nil {
		t.Fatal(err)
	}
	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		n.reload("4 connections moved, 0 drained")
	}()
	until(t, "the others have moved", func() bool { return other.self(t).PID != old })
	other.must(t, "hall.kick", map[string]any{"to": kicked.fd, "close": 4001})
	late.finish()
	until(t, "the late one has moved", func() bool { return late.self(t).PID != old })
	if _, err := worker.wait(reply); err != nil {
		t.Errorf("the action's answer: %v", err)
	}
	<-kicked.ended
	if _, err := kicked.wait(last); err == nil || kicked.code != 4001 {
		t.Errorf("kicked with %d, answered: %v", kicked.code, err)
	}
	<-reloaded
	s := worker.self(t)
	slices.Sort(s.UIDs)
	if s.PID == old || !slices.Equal(s.Rooms, []string{"room"}) || !slices.Equal(s.UIDs, []string{"team", "worker"}) || string(s.Session["v"]) != "1" {
		t.Errorf("%+v", s)
	}
	other.must(t, "hall.send", map[string]any{"room": "room", "from": 2, "number": 8})
	other.must(t, "hall.send", map[string]any{"uid": "team", "from": 2, "number": 9})
	until(t, "what was sent", func() bool { return worker.count() >= 3 })
	got := worker.notes() // pushes to a room and to a user have no common order
	slices.SortFunc(got, func(a, b note) int { return a.number - b.number })
	if want := []note{{1, 7}, {2, 8}, {2, 9}}; !slices.Equal(got, want) {
		t.Errorf("it got %v, want %v", got, want)
	}
	fd := fmt.Sprint(s.FD)
	until(t, "its place in the room's set", func() bool { return n.set("room")[fd] })
	if err := n.store.client.SAdd(t.Context(), "t:KEY", fd).Err(); err != nil {
		t.Fatal(err)
	}
	_ = worker.nc.Close()
	until(t, "its end", func() bool { return !n.set("room")[fd] && !n.set("KEY")[fd] })
	if times, _ := n.closeCalls(); times[s.FD] != 1 {
		t.Errorf("its close listener was told %d times", times[s.FD])
	}
}

// handshake is a member with an incomplete request.
type handshake struct {
	*member
	n *nodes
}

func (n *nodes) shaking(node int, uid string) *handshake {
	n.t.Helper()
	nc, err := net.DialTimeout("tcp", n.list[node].outside, wait)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = nc.Close() })
	fmt.Fprintf(nc, "GET /?auth=%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
		n.token(uid))
	return &handshake{&member{node: node, uid: uid, nc: nc, waiting: map[int]chan answer{}, ended: make(chan struct{})}, n}
}

func (h *handshake) finish() {
	h.n.t.Helper()
	fmt.Fprint(h.nc, "\r\n")
	_ = h.nc.SetReadDeadline(time.Now().Add(wait))
	br := bufio.NewReader(h.nc)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		h.n.t.Fatal(resp, err)
	}
	_ = h.nc.SetReadDeadline(time.Time{})
	go h.read(br)
}

// slowReader is a connection that reads only on demand.
type slowReader struct {
	traffic
	fd   int64
	sent int
}

func (n *nodes) slowReader(uid string) *slowReader {
	n.t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { // a small window, so that data waits in the server
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	nc, err := d.Dial("tcp", n.list[0].outside)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(5 * time.Minute))
	u := &slowReader{}
	u.nc, u.br = nc, bufio.NewReader(nc)
	fmt.Fprintf(nc, "GET /?auth=%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"X-Real-IP: 203.0.113.9\r\n\r\n", n.token(uid))
	if resp, err := http.ReadResponse(u.br, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		n.t.Fatal(resp, err)
	}
	u.fd = u.asks(n.t, "hall.join", `,"room":"slow"`).FD
	return u
}

// asks sends a request and reads its reply.
func (u *slowReader) asks(t testing.TB, method, more string) (s self) {
	t.Helper()
	u.asked++
	if _, err := u.nc.Write(encode(0x81, fmt.Appendf(nil, `{"method":%q,"id":%d%s}`, method, u.asked, more))); err != nil {
		t.Fatal(err)
	}
	for {
		first, p, err := (&rawConn{nc: u.nc, br: u.br}).frame()
		if err != nil {
			t.Fatal(err)
		}
		var a struct {
			answer
			ID int
		}
		if first != 0x81 || json.Unmarshal(p, &a) != nil || a.ID != u.asked {
			continue
		}
		if a.err() != nil {
			t.Fatal(a.err())
		}
		if json.Unmarshal(a.Param, &s) != nil {
			_ = json.Unmarshal(a.Param, &s.FD)
		}
		return s
	}
}

// fill pushes to slow readers until a number of bytes for each waits in the server.
func (n *nodes) fill(by *member, bytes int, readers ...*slowReader) {
	n.t.Helper()
	for rest := readers; len(rest) > 0; {
		for _, u := range rest {
			by.must(n.t, "hall.flood", map[string]any{"to": u.fd, "number": u.sent, "count": 4})
			u.sent += 4
		}
		state := n.connections()
		rest = slices.DeleteFunc(slices.Clone(rest), func(u *slowReader) bool { return state[u.fd].OutboxBytes >= bytes })
	}
}

// wantFlood reads everything that was pushed.
func (u *slowReader) wantFlood(t testing.TB) {
	t.Helper()
	for want := 0; want < u.sent; {
		first, p, err := (&rawConn{nc: u.nc, br: u.br}).frame()
		if err != nil {
			t.Fatalf("after %d of %d: %v", want, u.sent, err)
		}
		if first != 0x81 || !bytes.Contains(p[:min(60, len(p))], []byte(`"flood"`)) {
			continue
		}
		if prefix := fmt.Sprintf(`{"status":200,"event":"flood","info":"","param":[%d,"x`, want); !strings.HasPrefix(string(p), prefix) {
			t.Fatalf("%.100s in the place of %d", p, want)
		}
		want++
	}
}

// The whole state of a connection survives two reloads.
func TestReloadCarriesEverything(t *testing.T) {
	t.Parallel()
	n := startNodes(t, oneRedis(t), 1, nil, "WSFRAME_APP_TRUSTED_PROXIES=127.0.0.1", "WSFRAME_APP_LIMITS_MESSAGE_RATE=1", "WSFRAME_APP_LIMITS_MESSAGE_BURST=400",
		"WSFRAME_APP_LIMITS_WRITE_TIMEOUT=5m")
	by := n.member(0, "by", "room")
	u, spender := n.slowReader("slow"), n.member(0, "spender", "")
	u.asks(t, "hall.work", `,"room":"room","uid":"team","key":"KEY","values":{"v":{"deep":[1,"二"]}},"from":1,"number":1`)
	for range 380 {
		spender.must(t, "hall.self", nil)
	}
	n.fill(by, 700<<10, u)
	// Send a message in three fragments, the second of them interrupted, and then a complete
	// message.
	request := []byte(`{"method":"hall.self","id":77}`)
	cut := encode(0x00, request[10:20])
	if _, err := u.nc.Write(append(encode(0x01, request[:10]), cut[:9]...)); err != nil {
		t.Fatal(err)
	}
	before := n.connections()
	n.reload("3 connections moved, 0 drained")
	n.reload("3 connections moved, 0 drained")
	after := n.connections()
	if b, a := before[u.fd], after[u.fd]; a.Remote != "203.0.113.9" || a.Since != b.Since || a.OutboxBytes == 0 || a.MessagesIn != b.MessagesIn ||
		a.MessagesOut != b.MessagesOut || a.ID != "slow" {
		t.Errorf("%+v\nbefore %+v", a, b)
	}
	u.wantFlood(t)
	if _, err := u.nc.Write(append(cut[9:], encode(0x80, request[20:])...)); err != nil {
		t.Fatal(err)
	}
	u.asked = 76
	s := u.asks(t, "hall.self", "") // the reply to the fragmented message arrives first
	slices.Sort(s.Rooms)
	slices.Sort(s.UIDs)
	if s.FD != u.fd || s.Remote != "203.0.113.9" || !slices.Equal(s.Rooms, []string{"room", "slow"}) || !slices.Equal(s.UIDs, []string{"slow", "team"}) ||
		string(s.Session["v"]) != `{"deep":[1,"二"]}` {
		t.Errorf("%+v", s)
	}
	// The message rate continues: the connection has no new burst.
	spent := 0
	for ; spent < 380 && spender.call("hall.self", nil) == nil; spent++ {
	}
	if <-spender.ended; spender.code != 1008 {
		t.Errorf("after two reloads %d more messages at once were taken; ended with %d", spent, spender.code)
	}
	fd := fmt.Sprint(u.fd)
	if err := n.store.client.SAdd(t.Context(), "t:KEY", fd).Err(); err != nil {
		t.Fatal(err)
	}
	until(t, "its place in the room's set", func() bool { return n.set("room")[fd] })
	_ = u.nc.Close()
	until(t, "its end", func() bool { return !n.set("room")[fd] && !n.set("KEY")[fd] })
	if times, _ := n.closeCalls(); times[u.fd] != 1 {
		t.Errorf("its close listener was told %d times", times[u.fd])
	}
}

// Slow clients have more waiting data than fits into one message between the workers, and all of it
// moves.
func TestReloadWithFullQueues(t *testing.T) {
	t.Parallel()
	n := startNodes(t, nil, 1, nil, "WSFRAME_APP_LIMITS_WRITE_TIMEOUT=5m")
	by := n.member(0, "by", "")
	var readers []*slowReader
	for i := range 90 {
		readers = append(readers, n.slowReader(fmt.Sprint("slow", i)))
	}
	n.fill(by, 800<<10, readers...)
	waiting := 0
	for _, c := range n.connections() {
		waiting += c.OutboxBytes
	}
	t.Logf("%d MiB wait", waiting>>20)
	if waiting <= 64<<20 {
		t.Fatal("that is not more than one message holds")
	}
	n.reload("91 connections moved, 0 drained")
	for _, u := range readers {
		u.wantFlood(t)
	}
}
