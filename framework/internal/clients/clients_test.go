package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"wsframe/framework/auth"
	"wsframe/framework/gateway"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/nodetest"
	"wsframe/framework/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sessions changes connections without a cluster.
type sessions struct{}

func (sessions) JoinAny(_ context.Context, c *hub.Conn, room string, _ session.Joining) error {
	_, err := c.Join(room)
	return err
}

func (sessions) Leave(c *hub.Conn, room string) bool { return c.Leave(room) }

func (sessions) Bind(c *hub.Conn, uid string) error {
	_, err := c.Bind(uid)
	return err
}

func (sessions) Unbind(c *hub.Conn, uid string) { c.Unbind(uid) }

func (sessions) SetNote(c *hub.Conn, change func(string) string) {
	notes.Store(c.FD, change(noteOf(c)))
}

// notes are those of connections, by number.
var notes sync.Map

func noteOf(c *hub.Conn) string {
	note, _ := notes.Load(c.FD)
	text, _ := note.(string)
	return text
}

func (sessions) OwnUID(c *hub.Conn) string { return c.Auth.ID }

// node is a node with connections.
type node struct {
	*Clients
	gateway.Backend
	hub     *nodetest.Hub
	conns   map[uint32]*nodetest.Conn
	seen    map[uint32]int // messages that received has returned
	refused []string
}

func newNode(t *testing.T) *node {
	n := &node{conns: map[uint32]*nodetest.Conn{}, seen: map[uint32]int{}}
	n.hub = nodetest.NewHub(t, hub.Config{RoomFlush: 5 * time.Millisecond, RoomsPerConn: 3})
	n.Clients = New(Config{Hub: n.hub.Hub, Sessions: sessions{}, Refused: func(reason string) { n.refused = append(n.refused, reason) }})
	n.Backend = n.Clients.Backend()
	return n
}

func (n *node) connect(fd int64, uid string) *nodetest.Conn {
	n.Came(fd)
	c := n.hub.Connect(fd, auth.Identity{ID: uid}, session.New(nil))
	if uid != "" {
		_, _ = c.Bind(uid)
	}
	n.conns[ID(fd)] = c
	return c
}

// received returns what a client has got since the last call.
func (n *node) received(id uint32) []string {
	all := n.conns[id].Received()
	list := all[n.seen[id]:]
	n.seen[id] = len(all)
	return list
}

func message(text string) gateway.Message { return gateway.NewMessage([]byte(text)) }

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// The recordings of the original are answered and delivered likewise.
func TestRecordedCommands(t *testing.T) {
	n := newNode(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	inner := gateway.NewInner(gateway.InnerConfig{Commands: &gateway.Commands{Backend: n.Backend, Refused: func(reason string) { t.Log("refused:", reason) }}})
	ended := make(chan error, 1)
	go func() { ended <- inner.Run(ctx, ln) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	file, err := os.ReadFile("../../gateway/testdata/commands.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(file))
	lines.Buffer(nil, 1<<20)
	lines.Scan()
	count := 0
	for lines.Scan() {
		var step struct {
			Step      int
			PHP       string
			Exchanges []struct{ Request, Reply string }
			Got       map[string][]any
		}
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			t.Fatal(err)
		}
		switch step.Step {
		case 5:
			for fd := int64(1); fd <= 4; fd++ {
				n.connect(fd, "")
			}
		case 92:
			n.connect(5, "")
		case 93: // an unknown command
			continue
		}
		for _, e := range step.Exchanges {
			count++
			if got := exchange(t, ln.Addr().String(), e.Request); !same(got, e.Reply) {
				t.Errorf("step %d %s:\n%s, want\n%s", step.Step, step.PHP, got, e.Reply)
			}
		}
		for id := range n.conns {
			var want []string
			for _, m := range step.Got[fmt.Sprint("c", id)] {
				if text, ok := m.(string); ok {
					want = append(want, text)
				}
			}
			got := slices.DeleteFunc(n.received(id), func(text string) bool { return strings.HasPrefix(text, "close ") })
			if len(got)+len(want) > 0 {
				equal(t, fmt.Sprintf("step %d %s: client %d", step.Step, step.PHP, id), got, want)
			}
		}
	}
	if count < 85 {
		t.Error(count)
	}
}

// exchange sends a request on a connection of its own and returns the answers.
func exchange(t *testing.T, addr, request string) string {
	t.Helper()
	b, err := hex.DecodeString(request)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = conn.Write(b)
	err = errors.Join(err, conn.(*net.TCPConn).CloseWrite())
	answers, readErr := io.ReadAll(conn)
	if err = errors.Join(err, readErr); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(answers)
}

// same compares two answers whose lists may have other orders.
func same(a, b string) bool {
	x, y := []byte(a), []byte(b)
	slices.Sort(x)
	slices.Sort(y)
	return bytes.Equal(x, y)
}

// A connection_id is the low bits of a number, also across a change of the high bits.
func TestIDs(t *testing.T) {
	n := newNode(t)
	n.connect(idSpace-2, "")
	n.connect(idSpace+1, "")
	equal(t, "clients", n.Backend.Clients(), []uint32{1, idSpace - 2})
	if !n.Online(1) || !n.Online(idSpace-2) || n.Online(2) || n.Online(0) {
		t.Error("online")
	}
	if n.Usable(idSpace) || n.Usable(2*idSpace+1) || n.Usable(2*idSpace-2) || !n.Usable(idSpace+2) {
		t.Error("usable")
	}
	n.connect(2*idSpace, "")
	if !n.Online(1) || !n.Online(idSpace-2) {
		t.Error("two that live long are gone")
	}
}

// Any text names a group or a user, and comes back in answers.
func TestAnyNames(t *testing.T) {
	n := newNode(t)
	n.connect(1, "")
	for _, name := range []string{"a b", "WSFRAME", "100%"} {
		n.Join(1, name)
		n.Bind(1, name)
		equal(t, name, n.ClientsInGroup(name), []uint32{1})
		equal(t, name, n.ClientsOfUID(name), []uint32{1})
		c, _ := n.Client(1, gateway.FieldUID)
		equal(t, name, c.UID, name)
	}
	c, _ := n.Client(1, gateway.FieldGroups)
	equal(t, "groups", c.Groups, []string{"a b", "WSFRAME", "100%"})
	got := n.Groups()
	slices.Sort(got)
	equal(t, "groups", got, []string{"100%", "WSFRAME", "a b"})
	n.Join(1, "one too many")
	equal(t, "refused", n.refused, []string{"group"})
	n.Ungroup("a b")
	equal(t, "members", n.CountInGroup("a b"), 0)
}

// PHP's uid takes the place of the one before, and the token's stays bound.
func TestUIDs(t *testing.T) {
	n := newNode(t)
	c := n.connect(1, "7")
	uid := func() string {
		got, _ := n.Client(1, gateway.FieldUID)
		return got.UID
	}
	equal(t, "of the token", uid(), "7")
	n.Bind(1, "a")
	n.Bind(1, "b")
	equal(t, "bound", uid(), "b")
	equal(t, "bound", c.Users(), []string{"7", "b"})
	n.Bind(1, "7")
	equal(t, "bound", c.Users(), []string{"7"})
	n.Bind(1, "c")
	n.Unbind(1)
	equal(t, "unbound", uid(), "7")
	equal(t, "unbound", c.Users(), []string{"7"})
}

// A peer's messages and changes of members take effect in their order, though rooms are written in
// ticks; those of a kick precede its close frame.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		for fd := int64(1); fd <= 3; fd++ {
			n.connect(fd, "")
		}
		n.Join(1, "g")
		n.Join(2, "g")
		n.Join(2, "h")
		n.Join(3, "h")
		n.Bind(1, "u")
		var first []string
		say := func(text string, send func(m gateway.Message)) {
			send(message(text))
			first = append(first, text)
		}
		for i := range 20 {
			say(fmt.Sprint("g", i), func(m gateway.Message) { n.SendToGroup("g", nil, m) })
		}
		say("one", func(m gateway.Message) { n.SendTo([]uint32{1}, m) })
		for i := range 20 {
			say(fmt.Sprint("g", i), func(m gateway.Message) { n.SendToGroup("g", []uint32{3}, m) })
		}
		say("uid", func(m gateway.Message) { n.SendToUID("u", m) })
		for i := range 20 {
			say(fmt.Sprint("all", i), func(m gateway.Message) { n.SendToAll(nil, m) })
		}
		say("g", func(m gateway.Message) { n.SendToGroup("g", nil, m) })
		n.SendToGroup("h", nil, message("h"))
		n.received(3)
		for range 20 {
			say("before", func(m gateway.Message) { n.SendToGroup("g", nil, m) })
		}
		n.Join(3, "g")
		say("after", func(m gateway.Message) { n.SendToGroup("g", nil, m) })
		last := message("last")
		n.Kick(1, &last)
		if n.Online(1) {
			t.Error("a kicked client is there")
		}
		n.SendToGroup("g", nil, message("too late"))
		n.hub.SettleRooms()
		synctest.Wait()
		equal(t, "first", n.received(1), append(first, "last", "close 1000 "))
		equal(t, "newcomer", n.received(3)[0], "after")
		n.Destroy(2)
		synctest.Wait()
		equal(t, "clients", n.Backend.Clients(), []uint32{3})
	})
}

// Many exclusions are as good as few.
func TestExclusions(t *testing.T) {
	n := newNode(t)
	var odd []uint32
	for fd := int64(1); fd <= 40; fd++ {
		n.connect(fd, "")
		n.Join(uint32(fd), "g")
		if fd%2 == 1 {
			odd = append(odd, uint32(fd))
		}
	}
	for _, exclude := range [][]uint32{odd, odd[:3], {77}} {
		n.SendToGroup("g", exclude, message("g"))
		n.SendToAll(exclude, message("all"))
		n.hub.SettleRooms()
		for id := range n.conns {
			got := n.received(id)
			if slices.Contains(exclude, id) == (len(got) == 2) {
				t.Errorf("%d of %v: %v", id, exclude, got)
			}
		}
	}
}

// worker collects the events of clients.
type worker struct {
	conn gateway.Conn
	log  []string
}

func (w *worker) Unavailable() string { return "" }

func (w *worker) Open(c gateway.Conn, o gateway.Opening) gateway.ConnEvents {
	w.conn = c
	w.log = append(w.log, "open "+o.URI)
	return w
}

func (w *worker) Import(c gateway.Conn, state []byte) (gateway.ConnEvents, error) {
	w.conn = c
	w.log = append(w.log, "import "+string(state))
	return w, nil
}

func (w *worker) Departed(d gateway.Departed) {
	w.log = append(w.log, fmt.Sprint("departed ", d.ID, " ", d.Remote, " ", d.Port, " ", string(d.Session)))
}

func (w *worker) Message(payload []byte) { w.log = append(w.log, string(payload)) }
func (w *worker) Closed(session []byte)  { w.log = append(w.log, "closed "+string(session)) }
func (w *worker) Export() []byte         { return []byte("state") }

// Messages of a paused client wait for Resume, for its end, or for a move.
func TestForeign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, w := newNode(t), &worker{}
		n.cfg.Events = w
		c := n.connect(1, "")
		notes.Delete(c.FD)
		n.cfg.Gateway = netip.MustParseAddrPort("127.0.0.1:2900")
		f := n.Open(c.Conn, "hello", gateway.Opening{URI: "/x", Remote: netip.MustParseAddrPort("1.2.3.4:5"), Port: 7272})
		n.SetSession(1, func([]byte) ([]byte, bool) { return []byte("s"), true })
		for _, end := range []func(){w.conn.Resume, n.Freeze} {
			w.conn.Pause()
			go f.Message([]byte("waits"))
			synctest.Wait()
			w.log = append(w.log, "paused")
			end()
			synctest.Wait()
		}
		n.Thaw()
		go f.Message([]byte("lost"))
		synctest.Wait()
		w.conn.Send(message("bye"))
		w.conn.Close(1013, "why")
		synctest.Wait()
		f.Closed()
		d, ok := ReadNote(c.FD, noteOf(c.Conn))
		if !ok || d.ID.String() != "7f0000010b5400000001" || d.Remote.String() != "1.2.3.4:5" || d.Port != 7272 || string(d.Session) != "s" {
			t.Error(d, ok, noteOf(c.Conn))
		}
		for _, bad := range []string{"", "x", "127.0.0.1:1 x 7 ", "127.0.0.1:1 1.2.3.4:5 x ", "x 1.2.3.4:5 7 ", "127.0.0.1:1 1.2.3.4:5 7 ?"} {
			if _, ok := ReadNote(1, bad); ok {
				t.Errorf("%q is a note", bad)
			}
		}
		equal(t, "events", w.log, []string{"open /x", "paused", "waits", "paused", "waits", "closed s"})
		equal(t, "received", n.received(1), []string{"hello", "bye", "close 1013 why"})
	})
}
