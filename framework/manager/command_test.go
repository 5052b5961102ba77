package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// Each command of the original's clients has its reply, and some end the connection (contract §5).
func TestTextAnswers(t *testing.T) {
	s := serve(t, "")
	for _, tc := range []struct {
		name, frame string
		want        []string // replies
		calls       string
		close       int
	}{
		{"reload", `{"method":"reload"}`, []string{"服务即将重启"}, "reload false", 0},
		{"stop", `{"method":"stop"}`, []string{"服务即将关闭"}, "stop true", 0},
		{"stop at once", `{"method":"stop","graceful":false}`, []string{"服务即将关闭"}, "stop false", 0},
		{"status", `{"method":"status"}`, []string{"当前服务器共有 7 个连接\n主进程PID: 42\n内存占用量: 5 MB"}, "status", 0},
		{"say", `{"method":"say","text":"下午茶"}`, nil, `say "下午茶"`, 0},
		{"say by param", `{"method":"say","param":"tea"}`, nil, `say "tea"`, 0},
		{"say a number", `{"method":"say","param":5}`, nil, `say "5"`, 0},
		{"other", `{"method":"dance"}`, []string{"指令无效"}, "", 1008},
		{"a number", `{"method":5}`, []string{"指令无效"}, "", 1008},
		{"for our console only", `{"method":"connections"}`, []string{"指令无效"}, "", 1008},
		{"for our console only too", `{"method":"nodes"}`, []string{"指令无效"}, "", 1008},
		{"upper case", `{"method":"STOP"}`, []string{"指令无效"}, "", 1008},
		{"no JSON", `reload`, []string{"格式不符合规范"}, "", 1007},
		{"no object", `["reload"]`, []string{"格式不符合规范"}, "", 1007},
		{"no method", `{}`, []string{"格式不符合规范"}, "", 1007},
		{"another key", `{"Method":"stop"}`, []string{"格式不符合规范"}, "", 1007},
		{"empty method", `{"method":""}`, []string{"格式不符合规范"}, "", 1007},
		{"null method", `{"method":null}`, []string{"格式不符合规范"}, "", 1007},
		{"empty", ``, []string{"格式不符合规范"}, "", 1007},
		{"wrong type", `{"method":"stop","graceful":"no"}`, []string{"graceful has the wrong type"}, "", 0},
		{"null", `{"method":"reload","check":null}`, []string{"check has the wrong type"}, "", 0},
		{"a key in another case", `{"method":"reload","Check":true}`, []string{`"Check" is no key of a command`}, "", 0},
		{"a key that there is not", `{"method":"stop","gracefull":true}`, []string{`"gracefull" is no key of a command`}, "", 0},
		{"a key twice", `{"method":"reload","check":true,"check":false}`, []string{"a key is there twice"}, "", 0},
		{"say nothing", `{"method":"say","content":"x"}`, []string{`"content" is no key of a command`}, "", 0},
		{"say without a text", `{"method":"say"}`, []string{"text is missing"}, "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.back.mu.Lock()
			s.back.calls = nil
			s.back.mu.Unlock()
			c := s.open()
			send(t, c, tc.frame)
			for _, want := range tc.want {
				if got, err := receive(c); err != nil || got != want {
					t.Fatalf("got %q %v, want %q", got, err, want)
				}
			}
			if tc.close != 0 {
				if got, err := receive(c); int(websocket.CloseStatus(err)) != tc.close {
					t.Fatalf("got %q %v, want close code %d", got, err, tc.close)
				}
			} else { // there is no other reply, and the next command works
				send(t, c, `{"method":"nothing","format":"json"}`)
				if got, err := receive(c); err != nil || !strings.Contains(got, "unknown command") {
					t.Fatalf("then: %q %v", got, err)
				}
			}
			if got := s.back.noted(); got != tc.calls {
				t.Errorf("the backend was asked for %q, want %q", got, tc.calls)
			}
		})
	}
}

// A command that fails has the error as its reply, and its cause in the log.
func TestTextErrors(t *testing.T) {
	s := serve(t, "")
	s.back.fail = errors.New("the disk is full")
	c := s.open()
	for _, tc := range []struct {
		frame string
		want  []string
	}{
		{`{"method":"status"}`, []string{"the disk is full"}},
		{`{"method":"reload"}`, []string{"服务即将重启", "the disk is full"}},
		{`{"method":"say","text":"x"}`, []string{"the disk is full"}},
	} {
		send(t, c, tc.frame)
		for _, want := range tc.want {
			if got, err := receive(c); err != nil || got != want {
				t.Fatalf("%s: got %q %v, want %q", tc.frame, got, err, want)
			}
		}
	}
	if n := s.logs.FilterMessage("admin command failed").Len(); n != 3 {
		t.Errorf("%d are logged", n)
	}
}

// Client has every command.
func TestClient(t *testing.T) {
	s := serve(t, "0123456789abcdef")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := Dial(ctx, s.addr, "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	st, err := c.Status(ctx)
	if err != nil || st.Connections != 7 || st.UIDs != 3 || len(st.Nodes) != 1 {
		t.Errorf("status: %+v %v", st, err)
	}
	if r, err := c.Reload(ctx, true); err != nil || r.Moved != 5 || r.NewPID != 2 {
		t.Errorf("reload: %+v %v", r, err)
	}
	if n, err := c.Say(ctx, "下午茶"); err != nil || n != 3 {
		t.Errorf("say: %d %v", n, err)
	}
	if list, err := c.Connections(ctx, 20, 10); err != nil || len(list) != 1 || list[0].FD != 11 {
		t.Errorf("connections: %+v %v", list, err)
	}
	if _, err := c.Connections(ctx, 0, 1<<30); err != nil {
		t.Errorf("connections: %v", err)
	}
	if list, err := c.Nodes(ctx); err != nil || len(list) != 2 || list[1].State != NodeDead {
		t.Errorf("nodes: %+v %v", list, err)
	}
	if err := c.Stop(ctx, false); err != nil {
		t.Errorf("stop: %v", err)
	}
	if got, want := s.back.noted(), `status reload true say "下午茶" connections 20 10 connections 0 1000 nodes stop false`; got != want {
		t.Errorf("asked for %s\nwant      %s", got, want)
	}
	s.back.mu.Lock()
	s.back.fail = errors.New("the disk is full")
	s.back.mu.Unlock()
	if _, err := c.Status(ctx); err == nil || err.Error() != "the disk is full" {
		t.Errorf("a failure: %v", err)
	}
	s.stop()
	select {
	case <-c.Ended():
	case <-ctx.Done():
		t.Error("the client does not see the end")
	}
	if _, err := c.Status(ctx); err == nil {
		t.Error("a status without a server")
	}
	if _, err := Dial(ctx, s.addr, ""); err == nil || !strings.Contains(err.Error(), "is it started?") {
		t.Errorf("nobody there: %v", err)
	}
}

// JSON replies have this form, byte for byte.
func TestJSONForm(t *testing.T) {
	s := serve(t, "")
	c := s.open()
	for _, tc := range []struct{ frame, want string }{
		{`{"method":"say","text":"x","format":"json"}`, `{"ok":true,"data":3}`},
		{`{"method":"reload","format":"json"}`, `{"ok":true,"data":{"moved":5,"drained":0,"pause":0,"old_pid":1,"new_pid":2}}`},
		{`{"method":"stop","format":"json"}`, `{"ok":true}`},
		{`{"method":"dance","format":"json"}`, `{"ok":false,"error":"unknown command"}`},
		{`{"method":"connections","format":"json","limit":"all"}`, `{"ok":false,"error":"limit has the wrong type"}`},
	} {
		send(t, c, tc.frame)
		if got, err := receive(c); err != nil || got != tc.want {
			t.Errorf("%s: %s %v, want %s", tc.frame, got, err, tc.want)
		}
	}
	send(t, c, `{"method":"status","format":"json"}`)
	got, err := receive(c)
	var reply struct {
		OK   bool
		Data map[string]any
	}
	if err != nil || json.Unmarshal([]byte(got), &reply) != nil || !reply.OK || reply.Data["master_pid"] != 42.0 || reply.Data["nodes"] == nil {
		t.Errorf("status: %s %v", got, err)
	}
}

// Numbers that no list has are refused by name, before the Backend is called.
func TestNumbers(t *testing.T) {
	s := serve(t, "")
	c := s.open()
	for _, tc := range []struct{ offset, limit, want string }{
		{"9223372036854775807", "1", "offset must be from 0 to 2147483647"},
		{"2147483648", "1000", "offset must be from 0 to 2147483647"},
		{"-1", "1", "offset must be from 0 to 2147483647"},
		{"-9223372036854775808", "1", "offset must be from 0 to 2147483647"},
		{"9223372036854775808", "1", "offset has the wrong type"},
		{"1e400", "1", "offset has the wrong type"},
		{"1.5", "1", "offset has the wrong type"},
		{"0", "-9223372036854775808", "limit must not be negative"},
		{"0", "18446744073709551616", "limit has the wrong type"},
	} {
		send(t, c, fmt.Sprintf(`{"method":"connections","format":"json","offset":%s,"limit":%s}`, tc.offset, tc.limit))
		if got, err := receive(c); err != nil || got != `{"ok":false,"error":"`+tc.want+`"}` {
			t.Errorf("%s %s: %s %v, want %s", tc.offset, tc.limit, got, err, tc.want)
		}
	}
	send(t, c, `{"method":"connections","format":"json","offset":2147483647,"limit":9223372036854775807}`)
	if got, err := receive(c); err != nil || !strings.HasPrefix(got, `{"ok":true`) {
		t.Errorf("%s %v", got, err)
	}
	if got := s.back.noted(); got != "connections 2147483647 1000" {
		t.Errorf("asked for %s", got)
	}
}

// A Backend that panics costs its command only.
func TestPanic(t *testing.T) {
	s := serve(t, "")
	s.back.panic = true
	c := s.open()
	for _, tc := range []struct{ frame, want string }{
		{`{"method":"status"}`, "the command failed; the server's log says why"},
		{`{"method":"nodes","format":"json"}`, `{"ok":false,"error":"the command failed; the server's log says why"}`},
	} {
		send(t, c, tc.frame)
		if got, err := receive(c); err != nil || got != tc.want {
			t.Fatalf("%q %v", got, err)
		}
	}
	if list := s.logs.FilterMessage("panic in an admin command").All(); len(list) != 2 || !strings.Contains(fmt.Sprint(list[0].ContextMap()), "no coffee") {
		t.Errorf("logged: %v", s.logs.All())
	}
}

// A log line never carries a client's text.
func TestLogs(t *testing.T) {
	s := serve(t, "")
	c := s.open()
	for _, frame := range []string{`{"method":"say","text":"secret"}`, `{"method":"secret","format":"json"}`, `{"method":"status"}`, `secret`} {
		send(t, c, frame)
	}
	for {
		if _, err := receive(c); err != nil {
			break
		}
	}
	s.stop()
	for _, e := range s.logs.All() {
		if strings.Contains(e.Message+fmt.Sprint(e.ContextMap()), "secret") {
			t.Errorf("%s %v", e.Message, e.ContextMap())
		}
	}
	if n := s.logs.Len(); n != 4 {
		t.Errorf("%d lines: %v", n, s.logs.All())
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"method":"status"}`, `{"method":"say","param":{"a":[1]}}`, `{"method":5,"limit":1e3}`, `{"method":"stop","graceful":false}`,
		`{"method":null}`, `[]`, `{"method":"reload","check":true,"check":1}`, "\xff", `{"method":"\ud800"}`, "{\"method\":{\"\xff\":[]}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := parse(frame)
		if errors.Is(err, errNoCommand) {
			if r != (request{}) {
				t.Fatalf("%+v with %v", r, err)
			}
			return
		}
		if r.Method == "" || !json.Valid(frame) {
			t.Fatalf("%q is taken for %+v", frame, r)
		}
		if err != nil {
			return
		}
		// The Client's encoding of a command is parsed as the same command.
		again, merr := json.Marshal(r)
		if merr != nil {
			t.Fatal(merr)
		}
		back, err := parse(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if back.Graceful != nil && r.Graceful != nil && *back.Graceful == *r.Graceful {
			back.Graceful = r.Graceful
		}
		if back != r {
			t.Fatalf("%+v, then %+v", r, back)
		}
	})
}
