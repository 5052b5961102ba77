package gateway

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipes is a listener of connections within the process.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipes) Addr() net.Addr { return nil }

// listen serves a listener until the returned function is called.
func listen(t *testing.T, run func(context.Context, net.Listener) error) (*pipes, func()) {
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- run(ctx, l) }()
	return l, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// client is the other side of a connection, which collects what it gets.
type client struct {
	net.Conn
	mu     sync.Mutex
	text   []byte
	closed bool
}

func (l *pipes) dial() *client {
	mine, theirs := net.Pipe()
	c := &client{Conn: mine}
	l.conns <- theirs
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := mine.Read(buf)
			c.mu.Lock()
			c.text = append(c.text, buf[:n]...)
			c.closed = c.closed || err != nil
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return c
}

// take waits until nothing moves, and returns what has come since the last call.
func (c *client) take() (text string, closed bool) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	text = string(c.text)
	c.text = nil
	return text, c.closed
}

// put writes; a server that has closed is no failure here.
func (c *client) put(text string) { _, _ = c.Write([]byte(text)) }

type registerStep struct {
	N           int
	Conn        string
	Description string
	Sent        *string
	Received    map[string]string
	Closed      []string
}

// All recorded lines of a Register are answered and sent on as the original did. The original's
// complaint names its documentation, and its list is an object after a duplicate.
func TestRecordedRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegister(RegisterConfig{Secret: "s"})
		l, stop := listen(t, r.Run)
		conns := map[string]*client{}
		for _, step := range lines[registerStep](t, "register.jsonl", 22)[1:] {
			c := conns[step.Conn]
			known := c != nil
			if !known {
				c = l.dial()
				conns[step.Conn] = c
			}
			switch {
			case step.Sent != nil:
				c.put(*step.Sent)
			case known:
				_ = c.Close()
				synctest.Wait()
				delete(conns, step.Conn)
			default:
				time.Sleep(silence - time.Millisecond)
				if _, closed := c.take(); closed {
					t.Error("closed too early")
				}
				time.Sleep(time.Millisecond)
			}
			for name, one := range conns {
				want := step.Received[name]
				want = strings.Replace(want, `{"0":"10.0.0.1:2900","2":"10.0.0.3:2900"}`, `["10.0.0.1:2900","10.0.0.3:2900"]`, 1)
				if strings.HasPrefix(want, "Bad request") {
					want = complaint
				}
				got, closed := one.take()
				if got != want {
					t.Errorf("%d %s: %s got %q, want %q", step.N, step.Description, name, got, want)
				}
				if ends := strings.Contains(strings.Join(step.Closed, " "), name); closed != ends {
					t.Errorf("%d %s: %s is closed: %v", step.N, step.Description, name, closed)
				}
				if closed {
					delete(conns, name)
				}
			}
		}
		stop()
	})
}

func TestRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegister(RegisterConfig{})
		r.SetAddresses([]string{"10.0.0.9:2900"})
		l, stop := listen(t, r.Run)
		worker := l.dial()
		worker.put(`{"event":"worker_connect","secret_key":null}` + "\n")
		is := func(want string) {
			t.Helper()
			if got, closed := worker.take(); got != want || closed {
				t.Errorf("%q, want %q, closed: %v", got, want, closed)
			}
		}
		is(`{"event":"broadcast_addresses","addresses":["10.0.0.9:2900"]}` + "\n")
		php := l.dial()
		php.put(`{"event":"gateway_connect","address":"10.0.0.9:2900"}` + "\n" + `{"event":"gateway_connect","address":"10.0.0.8:1"}` + "\n")
		is(`{"event":"broadcast_addresses","addresses":["10.0.0.9:2900"]}` + "\n" + `{"event":"broadcast_addresses","addresses":["10.0.0.9:2900","10.0.0.8:1"]}` + "\n")
		r.SetAddresses([]string{"10.0.0.9:2900"})
		is("")
		r.SetAddresses(nil)
		is(`{"event":"broadcast_addresses","addresses":["10.0.0.8:1"]}` + "\n")
		for text, want := range map[string]string{
			"{}\n": complaint, "5\n": complaint, "\n": complaint, "\"\xff\"\n": complaint, `{"event":5}` + "\n": "",
			`{"event":"worker_connect","secret_key":5}` + "\n": "", `{"event":"worker_connect","secret_key":"x"}` + "\n": "",
			`{"event":"gateway_connect","address":"localhost:1"}` + "\n": "", `{"event":"gateway_connect","address":"1.2.3.4:0"}` + "\n": "",
			`{"event":"gateway_connect","address":"1.2.3.4:65536"}` + "\n": "", `{"event":"gateway_connect","address":"[::1]:5"}` + "\n": "",
			`{"event":"gateway_connect","address":5}` + "\n": "", strings.Repeat("x", 100_000) + "\n": complaint, strings.Repeat("x", maxLine): "",
		} {
			c := l.dial()
			c.put(text)
			if got, closed := c.take(); got != want || !closed {
				t.Errorf("%.60q: %q, closed: %v", text, got, closed)
			}
		}
		is("")
		_ = php.Close()
		is(`{"event":"broadcast_addresses","addresses":[]}` + "\n")
		stop()
	})
}

// Guests beyond the bound are closed, the longest idle first. Admitted peers stay, however idle.
func TestGuests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegister(RegisterConfig{})
		l, stop := listen(t, r.Run)
		worker := l.dial()
		worker.put(`{"event":"worker_connect"}` + "\n")
		pings := l.dial()
		pings.put(`{"event":"ping"}` + "\n")
		time.Sleep(time.Hour)
		if _, closed := worker.take(); closed {
			t.Error("an idle worker is closed")
		}
		if _, closed := pings.take(); closed {
			t.Error("a peer that has spoken is closed")
		}
		var guests []*client
		for range maxGuests - 1 {
			guests = append(guests, l.dial())
		}
		guests[0].put("{")
		synctest.Wait()
		last := l.dial()
		if _, closed := pings.take(); !closed {
			t.Error("the longest idle peer is kept")
		}
		another := l.dial()
		for name, want := range map[*client]bool{worker: false, guests[0]: false, guests[1]: true, guests[2]: false, last: false, another: false} {
			if _, closed := name.take(); closed != want {
				t.Errorf("closed: %v, want %v", closed, want)
			}
		}
		stop()
	})
}

type recording struct {
	About     string
	Gateways  []string
	SecretKey string `json:"secret_key"`
	Clients   map[string]string
	PHP       string
	Exchanges []struct {
		exchange
		EndedBy string `json:"ended_by"`
	}
}

// All recorded exchanges with two gateways, with a secret, and over persistent connections are
// answered as by the originals.
func TestRecordedPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ports := map[string]*pipes{}
		backends := map[string]*fake{}
		var stops []func()
		stop := func() {
			for _, f := range stops {
				f()
			}
			stops = nil
		}
		var got []string
		for _, one := range lines[recording](t, "gateways-and-secret.jsonl", 15) {
			if one.Gateways != nil {
				stop()
				r := NewRegister(RegisterConfig{Secret: one.SecretKey})
				r.SetAddresses(one.Gateways)
				l, end := listen(t, r.Run)
				ports["register"] = l
				stops = append(stops, end)
				for _, address := range one.Gateways {
					b := newFake()
					in := NewInner(InnerConfig{Commands: &Commands{Backend: b}, Secret: one.SecretKey})
					l, end := listen(t, in.Run)
					ports["gateway "+address], backends[address] = l, b
					stops = append(stops, end)
				}
				for i := range len(one.Clients) {
					id, ok := ParseClientID(one.Clients[fmt.Sprint("c", i+1)])
					if !ok {
						t.Fatal(one.Clients)
					}
					backends[id.Gateway.String()].connect(id.Connection)
				}
				continue
			}
			for _, e := range one.Exchanges {
				c := ports[e.Peer].dial()
				c.put(string(unhex(t, e.Request)))
				reply, closed := c.take()
				if hex.EncodeToString([]byte(reply)) != e.Reply {
					t.Errorf("%s: %s: %q, want %s", one.PHP, e.Peer, reply, unhex(t, e.Reply))
				}
				if refused := strings.Contains(one.PHP, "with a wrong key") || strings.Contains(one.PHP, "without a key"); closed != refused {
					t.Errorf("%s: %s: closed: %v", one.PHP, e.Peer, closed)
				}
				_ = c.Close()
			}
			for _, address := range slices.Sorted(maps.Keys(backends)) {
				received := backends[address].received()
				for _, name := range slices.Sorted(maps.Keys(received)) {
					got = append(got, fmt.Sprint(strings.TrimPrefix(address, "127.0.0.1:"), " ", name, " ", received[name]))
				}
			}
		}
		stop()
		want := "12901 c1 [m]|12900 c1 [m2]|12901 c1 [m2]|12900 c1 [m3]|12900 c2 [m3]|12900 c3 [m3]|12900 c1 [s1]|12900 c1 [p1]|12900 c1 [p2]|12900 c1 [p3]"
		if got := strings.Join(got, "|"); got != want {
			t.Errorf("clients got %s", got)
		}
	})
}

func introduction200(key, secret string) string {
	return string(AppendFrame(nil, Frame{Command: cmdWorkerConnect, Flag: 1, Body: fmt.Appendf(nil, `{"worker_key":%s,"secret_key":%s}`, key, secret)}))
}

func TestInnerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frame := func(c Command, body string) string {
			return string(AppendFrame(nil, Frame{Command: c, Connection: 1, Flag: 1, Body: []byte(body)}))
		}
		online := frame(cmdIsOnline, "")
		secret := frame(cmdGatewayClientConnect, `{"secret_key":"s"}`)
		const yes = "\x00\x00\x00\x04i:1;"
		type peerCase struct {
			sent, want string
			closed     bool
		}
		check := func(key string, cases []peerCase) {
			t.Helper()
			in := NewInner(InnerConfig{Commands: &Commands{Backend: newFake(1)}, Secret: key})
			l, stop := listen(t, in.Run)
			for _, one := range cases {
				c := l.dial()
				c.put(one.sent)
				if got, closed := c.take(); got != one.want || closed != one.closed {
					t.Errorf("secret %q, %.80q: %q, closed: %v", key, one.sent, got, closed)
				}
				_ = c.Close()
			}
			stop()
		}
		long := `"` + strings.Repeat("x", 257) + `"`
		check("s", []peerCase{
			{secret + online + secret + online, yes + yes, false},
			{introduction200(`"B:0"`, `"s"`) + online, yes, false},
			{online, "", true}, {online[:5], "", true}, {frame(cmdGatewayClientConnect, strings.Repeat(" ", maxIntroduction))[:5], "", true},
			{frame(cmdGatewayClientConnect, `{}`), "", true}, {frame(cmdGatewayClientConnect, `{"secret_key":5}`), "", true}, {frame(cmdGatewayClientConnect, `x`), "", true},
			{frame(cmdGatewayClientConnect, `["s"]`), "", true}, {secret + online + frame(cmdGatewayClientConnect, `{"secret_key":"x"}`) + online, yes, true},
			{introduction200(`"B:0"`, `"x"`), "", true}, {introduction200(`5`, `"s"`), "", true}, {introduction200(`""`, `"s"`), "", true}, {introduction200(long, `"s"`), "", true},
			{secret + frame(99, ""), "", true},
		})
		check("", []peerCase{
			{online + online, yes + yes, false}, {frame(cmdGatewayClientConnect, "x") + online, yes, false}, {introduction200(`"B:0"`, `"any"`) + online, yes, false},
			{frame(cmdWorkerConnect, "x"), "", true}, {introduction200(long, `""`), "", true}, {online + frame(201, "") + online, yes, true}, {frame(1, ""), "", true},
			{"\x00\x00\x00\x1b", "", true}, {"\xff\xff\xff\xff", "", true},
		})
	})
}

// One byte after the other is as good as one segment, and a silent peer is closed.
func TestInnerPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := NewInner(InnerConfig{Commands: &Commands{Backend: newFake(1)}})
		l, stop := listen(t, in.Run)
		slow, silent := l.dial(), l.dial()
		for _, b := range AppendFrame(nil, Frame{Command: cmdIsOnline, Connection: 1}) {
			time.Sleep(time.Second)
			slow.put(string(b))
		}
		_ = slow.Conn.SetDeadline(time.Time{})
		if got, closed := slow.take(); got != "\x00\x00\x00\x04i:1;" || closed {
			t.Errorf("%q, closed: %v", got, closed)
		}
		if _, closed := silent.take(); !closed {
			t.Error("a silent peer is kept")
		}
		stop()
	})
}

// Answers wait for an asker that does not read, up to a bound.
func TestInnerWithoutReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake(1)
		b.SetSession(1, func([]byte) ([]byte, bool) { return []byte(strings.Repeat("x", 1<<20)), true })
		in := NewInner(InnerConfig{Commands: &Commands{Backend: b}})
		l, stop := listen(t, in.Run)
		mine, theirs := net.Pipe()
		l.conns <- theirs
		asked := 0
		for ; asked < 100; asked++ {
			if _, err := mine.Write(AppendFrame(nil, Frame{Command: cmdSessionByClient, Connection: 1})); err != nil {
				break
			}
			synctest.Wait()
		}
		if asked < 10 || asked > 13 {
			t.Errorf("closed after %d questions of 1 MiB", asked)
		}
		_ = mine.Close()
		stop()
	})
}

// Lines are the same in whatever pieces they arrive.
func FuzzLines(f *testing.F) {
	f.Add([]byte("{}\r\n\n{\"event\":\"ping\"}\nrest"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		read := func(r io.Reader) (list []string) {
			l := lineReader{r: r}
			for {
				line, err := l.next()
				if err != nil {
					return list
				}
				list = append(list, string(line))
			}
		}
		var want []string
		for line := range bytes.Lines(stream) {
			if text, whole := strings.CutSuffix(string(line), "\n"); whole {
				want = append(want, strings.TrimSuffix(text, "\r"))
			}
		}
		for _, r := range []io.Reader{bytes.NewReader(stream), iotest.OneByteReader(bytes.NewReader(stream))} {
			if got := read(r); len(stream) < keptLine && !slices.Equal(got, want) {
				t.Fatalf("%q, want %q", got, want)
			}
		}
	})
}

// Everything before the end of a stream is done, and answered, over TCP as well.
func TestEndAfterCommands(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newFake(1)
	allowed := func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") }
	in := NewInner(InnerConfig{Commands: &Commands{Backend: b}, Allow: allowed})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- in.Run(ctx, l) }()
	conn, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	stream := AppendFrame(nil, Frame{Command: cmdSendToOne, Connection: 1, Flag: 1, Body: []byte("x")})
	stream = AppendFrame(stream, Frame{Command: cmdIsOnline, Connection: 1, Flag: 1})
	if _, err := conn.Write(stream); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "\x00\x00\x00\x04i:1;" {
		t.Errorf("%q, %v", got, err)
	}
	_ = conn.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(b.received()); got != "map[c1:[x]]" {
		t.Error(got)
	}
}

// Peers from other addresses are closed.
func TestAllow(t *testing.T) {
	p := port{allow: func(netip.Addr) bool { return false }}
	mine, theirs := net.Pipe()
	p.open(theirs)
	if _, err := mine.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
}
