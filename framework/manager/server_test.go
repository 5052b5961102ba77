package manager

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute // only a fault needs so long

// fake is a Backend that records its calls.
type fake struct {
	mu    sync.Mutex
	calls []string
	fail  error
	panic bool
	block chan struct{} // Reload waits for it, or for its context
	begun chan struct{} // Reload has begun
	once  sync.Once
}

func (f *fake) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	if f.panic {
		panic("no coffee")
	}
	return f.fail
}

func (f *fake) noted() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, " ")
}

func (f *fake) Status(context.Context) (Status, error) {
	return Status{Connections: 7, MasterPID: 42, MemoryBytes: 5<<20 + 1, UIDs: 3, Nodes: []NodeInfo{{ID: "a"}}}, f.note("status")
}

func (f *fake) Reload(ctx context.Context, check bool) (ReloadReport, error) {
	if f.begun != nil {
		f.once.Do(func() { close(f.begun) })
		select {
		case <-f.block:
		case <-ctx.Done():
			return ReloadReport{}, ctx.Err()
		}
	}
	return ReloadReport{Moved: 5, OldPID: 1, NewPID: 2}, f.note("reload %v", check)
}

func (f *fake) Stop(_ context.Context, graceful bool) error { return f.note("stop %v", graceful) }

func (f *fake) Say(_ context.Context, text string) (int, error) { return 3, f.note("say %q", text) }

func (f *fake) Connections(_ context.Context, offset, limit int) ([]ConnInfo, error) {
	return []ConnInfo{{FD: 11, ID: "u"}}, f.note("connections %d %d", offset, limit)
}

func (f *fake) Nodes(context.Context) ([]NodeInfo, error) {
	return []NodeInfo{{ID: "a", State: NodeAlive}, {ID: "b", State: NodeDead}}, f.note("nodes")
}

type served struct {
	*Server
	t    *testing.T
	addr string
	back *fake
	logs *observer.ObservedLogs
	stop func() // Close, and the end of Serve
}

func serve(t *testing.T, token string) *served {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.DebugLevel)
	s := &served{t: t, addr: ln.Addr().String(), back: &fake{}, logs: logs}
	s.Server = NewServer(Config{Backend: s.back, Token: token, Log: zap.New(core)})
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	s.stop = sync.OnceFunc(func() {
		s.Close()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *served) dial(header http.Header, query string) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, "ws://"+s.addr+"/"+query, &websocket.DialOptions{HTTPHeader: header})
	if err == nil {
		s.t.Cleanup(func() { _ = c.CloseNow() })
	}
	return c, resp, err
}

func (s *served) open() *websocket.Conn {
	s.t.Helper()
	c, _, err := s.dial(nil, "")
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func send(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func receive(c *websocket.Conn) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, b, err := c.Read(ctx)
	return string(b), err
}

// Processes of this machine and peers with the token may command, web pages never.
func TestAccess(t *testing.T) {
	const token = "0123456789abcdef"
	bearer := func(v string) http.Header { return http.Header{"Authorization": {"Bearer " + v}} }
	for _, tc := range []struct {
		name, token string
		header      http.Header
		query       string
		status      int
	}{
		{"none wanted", "", nil, "", 101},
		{"none wanted, one shown", "", bearer("x"), "", 101},
		{"right", token, bearer(token), "", 101},
		{"right, in lower case", token, http.Header{"Authorization": {"bearer " + token}}, "", 101},
		{"right in the query", token, nil, "?token=" + token, 101},
		{"none", token, nil, "", 403},
		{"empty", token, bearer(""), "", 403},
		{"wrong", token, bearer("0123456789abcdeF"), "", 403},
		{"the beginning", token, bearer(token[:8]), "", 403},
		{"longer", token, bearer(token + "0"), "", 403},
		{"wrong, the query right", token, bearer("x"), "?token=" + token, 403},
		{"basic", token, http.Header{"Authorization": {"Basic " + token}}, "", 403},
		{"page", "", http.Header{"Origin": {"http://127.0.0.1"}}, "", 403},
		{"page with the token", token, http.Header{"Origin": {"http://example.com"}, "Authorization": {"Bearer " + token}}, "", 403},
		{"page without a name", "", http.Header{"Origin": {""}}, "", 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, tc.token)
			_, resp, err := s.dial(tc.header, tc.query)
			if resp == nil || resp.StatusCode != tc.status {
				t.Fatalf("got %+v %v, want %d", resp, err, tc.status)
			}
			if tc.status == 101 {
				return
			}
			if n := s.logs.FilterMessage("admin connection refused").Len(); n != 1 {
				t.Errorf("%d refusals are logged", n)
			}
			for _, e := range s.logs.All() {
				if strings.Contains(fmt.Sprint(e.ContextMap()), token[:8]) {
					t.Errorf("the token is in the log: %v", e)
				}
			}
		})
	}
}

// A peer of another machine needs the token.
func TestForbiddenPeers(t *testing.T) {
	for _, tc := range []struct {
		peer, host, token string
		ok                bool
	}{
		{"127.0.0.1:5", "127.0.0.1:20001", "", true}, {"127.8.9.10:5", "localhost:20001", "", true}, {"[::1]:5", "[::1]:20001", "", true},
		{"[::ffff:127.0.0.1]:5", "LOCALHOST", "", true}, {"127.0.0.1:5", "127.8.9.10", "", true}, {"127.0.0.1:5", "[::1]", "", true},
		{"10.0.0.1:5", "localhost", "", false}, {"[fe80::1%eth0]:5", "localhost", "", false}, {"0.0.0.0:5", "localhost", "", false},
		{"nonsense", "localhost", "", false}, {"", "localhost", "", false},
		{"127.0.0.1:5", "evil.example:20001", "", false}, {"127.0.0.1:5", "localhost.evil.example", "", false}, {"127.0.0.1:5", "", "", false},
		{"127.0.0.1:5", "10.0.0.1:20001", "", false}, {"127.0.0.1:5", "0.0.0.0:20001", "", false}, {"127.0.0.1:5", "127.0.0.1.nip.io:20001", "", false},
		{"10.0.0.1:5", "ws.example:20001", "secret", true},
	} {
		s := NewServer(Config{Backend: &fake{}, Token: tc.token, Log: zap.NewNop()})
		r, err := http.NewRequest("GET", "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr, r.Host = tc.peer, tc.host
		r.Header.Set("Authorization", "Bearer secret")
		if why := s.forbidden(r); (why == "") != tc.ok {
			t.Errorf("%q, host %q, token %q: %q", tc.peer, tc.host, tc.token, why)
		}
		s.Close()
	}
}

func TestPlainHTTP(t *testing.T) {
	s := serve(t, "0123456789abcdef")
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusUpgradeRequired || resp.Header.Get("Upgrade") != "websocket" || !strings.Contains(string(body), "WebSocket") {
		t.Errorf("%d %s %s", resp.StatusCode, resp.Header, body)
	}
}

// Peers that do not speak WebSocket are disconnected, and others are served.
func TestBrokenPeers(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	good := s.open()
	const shake = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	for _, tc := range []struct {
		name, bytes string
		code        int
	}{
		{"no HTTP", "\x00\x01\x02\r\n\r\n", 0},
		{"a head that is too large", "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10), 0},
		{"no key", "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 0},
		{"a frame that is too large", shake + "\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00mask", 1009},
		{"a length beyond all bounds", shake + "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xffmask", 1009},
		{"the least such length, binary", shake + "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00mask", 1009},
		{"no mask", shake + "\x81\x02{}", 1002},
		{"no UTF-8", shake + "\x81\x82\x00\x00\x00\x00\xff\xfe", 1007},
		{"a reserved opcode", shake + "\x83\x80mask", 1002},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nc, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(nc, tc.bytes) // it may end in the middle
			said, err := io.ReadAll(nc)
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Fatal("it is not ended")
			}
			if _, frames, _ := bytes.Cut(said, []byte("\r\n\r\n")); tc.code > 0 && (len(frames) < 4 || frames[0] != 0x88 || int(frames[2])<<8|int(frames[3]) != tc.code) {
				t.Errorf("got %q, want the close code %d", frames, tc.code)
			}
			for _, e := range s.logs.TakeAll() {
				if e.ContextMap()["stack"] != nil || e.ContextMap()["panic"] != nil {
					t.Errorf("logged %v", e)
				}
			}
			send(t, good, `{"method":"nothing","format":"json"}`)
			if got, err := receive(good); err != nil || !strings.Contains(got, "unknown") {
				t.Fatalf("another one: %q %v", got, err)
			}
		})
	}
}

// A pong has the payload of its ping (RFC 6455 section 5.5.3). Commands that arrive together with
// the handshake all get a reply, those before one that closes the connection included.
func TestPipelined(t *testing.T) {
	s := serve(t, "")
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	frame := func(opcode byte, text string) string {
		return string([]byte{0x80 | opcode, 0x80 | byte(len(text)), 0, 0, 0, 0}) + text
	}
	_, err = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+
		frame(9, "hello")+frame(1, `{"method":"status"}`)+frame(1, `{"method":"dance"}`)+frame(1, strings.Repeat("x", 100)))
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(nc)
	if _, err := http.ReadResponse(r, nil); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	rest := string(b)
	for _, part := range []string{"\x8a\x05hello", "当前服务器共有 7 个连接", "指令无效", "\x88\x02\x03\xf0"} {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			t.Fatalf("%q does not come in %q", part, b)
		}
		rest = after
	}
	if rest != "" {
		t.Errorf("more comes: %q", rest)
	}
}

// A new connection takes the place of the one that has been idle longest, never of one whose
// command runs or that waits for the server's end.
func TestIdleGiveWay(t *testing.T) {
	s := serve(t, "")
	s.back.begun, s.back.block = make(chan struct{}), make(chan struct{})
	busy, stopping, used := s.open(), s.open(), s.open()
	var idle []*websocket.Conn
	for range maxConns - 3 {
		idle = append(idle, s.open())
	}
	send(t, busy, `{"method":"reload","format":"json"}`)
	<-s.back.begun
	for _, c := range []*websocket.Conn{stopping, used} {
		send(t, c, `{"method":"stop","format":"json"}`)
		if c == used {
			send(t, c, `{"method":"status"}`)
		}
		if _, err := receive(c); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range idle {
		if _, _, err := s.dial(nil, ""); err != nil {
			t.Fatalf("one more beside %d: %v", maxConns, err)
		}
		if _, err := receive(c); websocket.CloseStatus(err) != tryAgainLater {
			t.Fatalf("idle connection %d: %v", i, err)
		}
	}
	send(t, stopping, `{"method":"status"}`)
	if got, err := receive(stopping); err != nil || got == "" {
		t.Errorf("the one that stops: %q %v", got, err)
	}
	close(s.back.block)
	if got, err := receive(busy); err != nil || !strings.Contains(got, `"ok":true`) {
		t.Errorf("the busy one: %q %v", got, err)
	}
}

// One more connection is refused where all run a command.
func TestTooManyCommands(t *testing.T) {
	s := serve(t, "")
	s.back.block, s.back.begun = make(chan struct{}), make(chan struct{})
	begun := s.back.begun
	for range maxConns {
		c := s.open()
		send(t, c, `{"method":"reload"}`)
		if got, err := receive(c); err != nil || got != textReload { // it runs
			t.Fatalf("%q %v", got, err)
		}
	}
	<-begun
	if _, resp, err := s.dial(nil, ""); resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more: %+v %v", resp, err)
	}
	close(s.back.block)
}

// Refused handshakes and malformed commands cannot fill the log: each has one line a minute, with
// the number of lines that were suppressed.
func TestLogIsBounded(t *testing.T) {
	s := serve(t, "")
	for range 50 {
		if _, resp, _ := s.dial(http.Header{"Origin": {"http://evil.example"}}, ""); resp == nil || resp.StatusCode != http.StatusForbidden {
			t.Fatalf("%+v", resp)
		}
		c := s.open()
		send(t, c, "nonsense")
		if _, err := receive(c); err != nil {
			t.Fatal(err)
		}
	}
	for _, message := range []string{"admin connection refused", "admin command is malformed"} {
		// A slow machine may need some minutes.
		if n := s.logs.FilterMessage(message).Len(); n < 1 || n > 3 {
			t.Errorf("%q is logged %d times", message, n)
		}
	}
}

// Close ends the context of the command that runs. Its reply is still sent, and then the close
// frame.
func TestCloseWhileCommandRuns(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	s.back.begun, s.back.block = make(chan struct{}), make(chan struct{})
	busy, idle := s.open(), s.open()
	send(t, busy, `{"method":"reload","format":"json"}`)
	<-s.back.begun
	s.stop()
	if got, err := receive(busy); err != nil || got != `{"ok":false,"error":"context canceled"}` {
		t.Errorf("%q %v", got, err)
	}
	for _, c := range []*websocket.Conn{busy, idle} {
		if got, err := receive(c); websocket.CloseStatus(err) != 1001 {
			t.Errorf("%q %v", got, err)
		}
	}
	if _, _, err := s.dial(nil, ""); err == nil {
		t.Error("it still accepts")
	}
}
