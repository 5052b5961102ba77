//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"wsframe/framework/push"
)

const pushToken = "push-token-0123456789"

// client makes a Go client of the push port.
func (s *server) client(token string) *push.Client {
	s.t.Helper()
	c, err := push.NewClient("http://"+s.push, token)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.HTTP.CloseIdleConnections)
	return c
}

// user connects a user and waits until the server can reach it by uid.
func (s *server) user(c *push.Client, id string) *peer {
	s.t.Helper()
	p := dial(s.t, s.outside, s.token("wechatUser", id))
	until(s.t, id+" is online", func() bool { on, err := c.IsUIDOnline(s.t.Context(), id); return on && err == nil })
	return p
}

func fetch(t testing.TB, method, address, kind, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// Requests of back ends for web-msg-sender arrive in the form that its clients expect.
func TestPushForm(t *testing.T) {
	s := start(t)
	c := s.client("")
	seven, eight := s.user(c, "7"), s.user(c, "8")
	base := "http://" + s.push + "/"
	send := func(to, text string) string {
		t.Helper()
		form := url.Values{"type": {"publish"}, "to": {to}, "content": {text}}.Encode()
		_, got := fetch(t, "GET", base+"?"+form, "", "")
		_, posted := fetch(t, "POST", base, "application/x-www-form-urlencoded", form)
		if got != posted {
			t.Errorf("to %q: GET %s, POST %s", to, got, posted)
		}
		return got
	}
	if said := send("7", `你好 <b a="1">'&`); said != "ok" {
		t.Error(said)
	}
	const frame = `{"status":200,"event":"new_msg","info":"","param":"你好 &lt;b a=&quot;1&quot;&gt;&#039;&amp;"}`
	seven.want(frame)
	seven.want(frame)
	if said := send("9", "x"); said != "offline" {
		t.Error(said)
	}
	if said := send("", "all"); said != "ok" {
		t.Error(said)
	}
	for _, p := range []*peer{seven, seven, eight, eight} {
		p.want(`"event":"new_msg","info":"","param":"all"`)
	}
	if _, said := fetch(t, "GET", base+"?type=x", "", ""); said != "fail" {
		t.Error(said)
	}
	if status, said := fetch(t, "GET", base+"healthz", "", ""); status != 200 || said != "ok\n" {
		t.Error(status, said)
	}
}

// The metrics can be scraped, and every line follows Prometheus's text format.
func TestMetrics(t *testing.T) {
	s := start(t)
	c := s.user(s.client(""), "7")
	for range 3 {
		c.send(`{"method":"index.index.index"}`)
		c.want("执行完成")
	}
	c.send(`{"method":"chat.room.join","room":"nowhere"}`) // a refused request does not count as failure
	c.want("roomNotFound")
	status, text := fetch(t, "GET", "http://"+s.push+"/metrics", "", "")
	if status != 200 {
		t.Fatal(status, text)
	}
	line := regexp.MustCompile(`^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+({[a-z]+="[^"]*"(,[a-z]+="[^"]*")*})? [0-9.e+-]+)$`)
	for l := range strings.Lines(text) {
		if !line.MatchString(strings.TrimSuffix(l, "\n")) {
			t.Errorf("line %q", l)
		}
	}
	for _, want := range []string{
		"wsframe_connections 1", "wsframe_users 1", "wsframe_messages_received_total 4", "wsframe_messages_sent_total 4",
		`wsframe_action_duration_seconds_count{method="index.index.index"} 3`, `wsframe_action_duration_seconds_bucket{method="index.index.index",le="+Inf"} 3`,
		`wsframe_action_duration_seconds_count{method="chat.room.join"} 1`, `wsframe_action_failures_total{method="chat.room.join"} 0`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
}

// The Go client makes every kind of call, and returns the errors of refused ones.
func TestPushClient(t *testing.T) {
	s := start(t, "WSFRAME_APP_PUSH_TOKENS="+pushToken+",send-only-0123456789 send")
	c, ctx := s.client(pushToken), t.Context()
	seven := s.user(c, "7")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	code := func(err error, want push.Code) {
		t.Helper()
		var e *push.Error
		if !errors.As(err, &e) || e.Code != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	list, err := c.Connections(ctx, 0, 10)
	must(err)
	if len(list) != 1 || list[0].Auth.ID != "7" || list[0].UIDs[0] != "7" || list[0].Auth.Nickname != "小明" {
		t.Fatal(list)
	}
	fd := list[0].FD
	must(c.SendToFD(ctx, fd, &push.Push{Event: "paid", Info: "i", Status: 201, Param: push.JSON(map[string]any{"id": 5})}))
	seven.want(`{"status":201,"event":"paid","info":"i","param":{"id":5}}`)
	must(c.SendToUID(ctx, "7", &push.Push{Event: "paid"}))
	seven.want(`{"status":200,"event":"paid","info":""}`)
	must(c.Join(ctx, fd, "直播间", false))
	must(c.SendToRoom(ctx, "直播间", &push.Push{Event: "say", Param: push.JSON("hi")}, push.Keep{Length: 5, AgeSeconds: 60}))
	seven.want(`"event":"say","info":"","param":"hi","room":"直播间","offset":1`)
	page, err := c.History(ctx, "直播间", -1, 10)
	must(err)
	if page.Offset != 1 || len(page.Items) != 1 || !strings.Contains(string(page.Items[0].Push), `"param":"hi"`) {
		t.Errorf("%+v", page)
	}
	must(c.SendToAll(ctx, &push.Push{Event: "notFor7", Except: []int64{fd}}))
	must(c.BindUID(ctx, fd, "seven"))
	n, err := c.Reach(ctx, "seven", &push.Push{Event: "reach", Class: push.Latest, Key: "k"})
	must(err)
	if n != 1 {
		t.Error(n)
	}
	seven.want(`"event":"reach"`)
	must(c.UnbindUID(ctx, fd, "seven"))
	must(c.SetSession(ctx, fd, map[string]json.RawMessage{"a": push.JSON(1), "b": push.JSON("x")}))
	must(c.UpdateSession(ctx, fd, map[string]json.RawMessage{"a": push.JSON(nil), "c": push.JSON([]int{2})}))
	values, err := c.Session(ctx, fd)
	must(err)
	if got := fmt.Sprintf("%s", values); got != `map[b:"x" c:[2]]` {
		t.Error(got)
	}
	counts, err := c.Counts(ctx)
	must(err)
	if (counts != push.Counts{Connections: 1, UIDs: 1, Rooms: 1, Nodes: 1}) {
		t.Errorf("%+v", counts)
	}
	for name, f := range map[string]func() (int, error){
		"members": func() (int, error) { return c.RoomCount(ctx, "直播间") },
		"rooms":   func() (int, error) { l, err := c.RoomNames(ctx, "", 10); return len(l), err },
		"uids":    func() (int, error) { l, err := c.UIDs(ctx, "", 10); return len(l), err },
		"list":    func() (int, error) { l, err := c.RoomMembers(ctx, "直播间", 0, 10); return len(l), err },
	} {
		if n, err := f(); n != 1 || err != nil {
			t.Error(name, n, err)
		}
	}
	big := push.JSON(strings.Repeat("x", 17<<10))
	code(c.SetSession(ctx, fd, map[string]json.RawMessage{"big": big}), push.CodeLimit)
	code(c.SendToFD(ctx, fd+1, &push.Push{Event: "e"}), push.CodeNoConnection)
	code(c.SendToUID(ctx, "a b", &push.Push{Event: "e"}), push.CodeBadRequest)
	code(c.Join(ctx, fd, strings.Repeat("x", 129), false), push.CodeBadRequest)
	code(c.SendToAll(ctx, &push.Push{Event: "e", Param: push.JSON(strings.Repeat("x", 1<<20))}), push.CodeTooLarge)
	code(s.client("").SendToAll(ctx, &push.Push{Event: "e"}), push.CodeUnauthorized)
	only := s.client("send-only-0123456789")
	must(only.SendToUID(ctx, "nobody", &push.Push{Event: "e"}))
	code(only.Kick(ctx, fd, 0, ""), push.CodeForbidden)
	_, err = only.Counts(ctx)
	code(err, push.CodeForbidden)
	for i := range 300 { // the limit of rooms is 256
		if err = c.Join(ctx, fd, fmt.Sprint("r", i), false); err != nil {
			break
		}
	}
	code(err, push.CodeLimit)
	must(c.LeaveAll(ctx, fd))
	for range 3 {
		must(c.CallOnce(ctx, "order-5", "sendToUID", map[string]any{"uid": "7", "event": "once"}, nil))
	}
	must(c.Kick(ctx, fd, 4100, "out"))
	seven.want(`"event":"once"`)
	seven.wantClose(4100)
}

// The PHP class behaves like the Go client.
func TestPushPHP(t *testing.T) {
	s := start(t, "WSFRAME_APP_PUSH_TOKENS="+pushToken)
	seven := s.user(s.client(pushToken), "7")
	script := `require $argv[1];
$ws = new Wsframe($argv[2], $argv[3]);
$fd = $ws->connections()[0]['fd'];
$ws->sendToUID('7', 'orderPaid', ['id' => 5, 'name' => '小<明>']);
$ws->sendToFD($fd, 'empty');
$ws->join($fd, 'A', false);
$ws->sendToRoom('A', 'say', 1.0, ['info' => 'i', 'class' => 'drop-oldest']);
$ws->sendToAll('all', [], ['except' => [$fd]]);
$ws->sendToAll('all', [1]);
$out = [
    'reach' => $ws->reach('7', 'reach', false), 'nobody' => $ws->reach('9', 'reach'), 'newMsg' => [$ws->newMsg('7', '<b>'), $ws->newMsg('9', 'x')],
    'online' => [$ws->isOnline($fd), $ws->isUIDOnline('9')], 'counts' => $ws->counts(), 'members' => [$ws->roomCount('A'), count($ws->roomMembers('A'))],
    'names' => [$ws->uids(), $ws->roomNames()],
];
$ws->setSession($fd, []);
$ws->setSession($fd, ['a' => 1, 'b' => 2]);
$ws->updateSession($fd, ['a' => null, 'c' => ['x']]);
$out['session'] = $ws->session($fd);
$ws->sendToRoom('A', 'kept', 1, ['keep' => 5, 'age_seconds' => 60]);
$out['history'] = $ws->history('A')['items'][0]['push']['event'];
$ws->bindUID($fd, 'other');
$ws->unbindUID($fd, 'other');
$ws->once('order-5')->sendToUID('7', 'once');
$ws->once('order-5')->sendToUID('7', 'once');
$out['batch'] = $ws->batch([['leave', ['fd' => $fd, 'room' => 'A']], ['roomCount', ['room' => 'A']], ['counts'], ['nothing']]);
$out['dismissed'] = $ws->dismissRoom('A');
$ws->leaveAll($fd);
foreach ([
    function () use ($ws) { $ws->kick(5); },
    function () use ($ws) { $ws->sendToUID('a b', 'e'); },
    function () use ($ws) { $ws->sendToAll("\xff"); },
    function () use ($argv) { (new Wsframe($argv[2], 'wrong-0123456789abcdef'))->counts(); },
    function () { (new Wsframe('http://127.0.0.1:1'))->counts(); },
] as $bad) {
    try {
        $bad();
        $out['errors'][] = 'none';
    } catch (Exception $e) {
        $out['errors'][] = get_class($e) . ' ' . $e->getCode() . ' ' . strtok($e->getMessage(), ':');
    }
}
$out['kicked'] = $ws->kickUID('7', 4100, 'out');
echo json_encode($out, JSON_UNESCAPED_UNICODE);`
	cmd := exec.Command("php", "-d", "error_reporting=-1", "-d", "display_errors=stderr", "-r", script, "--", filepath.Join(root, "docs/php/Wsframe.php"), "http://"+s.push, pushToken)
	var said, errs lockedBuffer
	cmd.Stdout, cmd.Stderr = &said, &errs
	if err := cmd.Run(); err != nil || errs.String() != "" {
		t.Fatalf("%v\n%s%s", err, &said, &errs)
	}
	const want = `{"reach":1,"nobody":0,"newMsg":["ok","offline"],"online":[true,false],"counts":{"connections":1,"uids":1,"rooms":1,"nodes":1},` +
		`"members":[1,1],"names":[["7"],["A"]],"session":{"b":2,"c":["x"]},"history":"kept",` +
		`"batch":[{"result":[]},{"result":{"members":0}},{"result":{"connections":1,"uids":1,"rooms":0,"nodes":1}},{"error":{"code":"unknownMethod","message":"there is no method \"nothing\""}}],"dismissed":0,` +
		`"errors":["RuntimeException 404 noConnection","RuntimeException 400 badRequest","InvalidArgumentException 0 sendToAll","RuntimeException 401 unauthorized","RuntimeException 0 noAnswer"],"kicked":1}`
	if said.String() != want {
		t.Errorf("got  %s\nwant %s", &said, want)
	}
	for _, frame := range []string{
		`"event":"orderPaid","info":"","param":{"id":5,"name":"小<明>"}}`, `"event":"empty","info":""}`, `"event":"say","info":"i","param":1.0}`, `"event":"all","info":"","param":[1]}`,
		`"event":"reach","info":"","param":false}`, `"event":"new_msg","info":"","param":"&lt;b&gt;"}`, `"event":"kept"`, `"event":"once"`,
	} {
		seven.want(frame)
	}
	seven.wantClose(4100)
}

// Back ends continue during reloads: no request is refused or answered wrongly, and each push
// arrives once and in order.
func TestPushReload(t *testing.T) {
	s := start(t, "WSFRAME_APP_PUSH_REQUEST_RATE=0")
	seven := s.user(s.client(""), "7")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	sent := make([]int, 3)
	for i := range sent { // one sender keeps its connection, one opens a connection for each request, one uses the form
		all.Go(func() {
			client := &http.Client{Timeout: wait, Transport: &http.Transport{DisableKeepAlives: i == 1}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				n := sent[i] + 1
				path, kind, body := "api/v1/reach", "application/json", fmt.Sprintf(`{"uid":"7","event":"n","param":[%d,%d]}`, i, n)
				if i == 2 {
					path, kind, body = "", "application/x-www-form-urlencoded", fmt.Sprintf("type=publish&to=7&content=%d,%d", i, n)
				}
				r, err := http.NewRequest("POST", "http://"+s.push+"/"+path, strings.NewReader(body))
				if err == nil {
					r.Header.Set("Content-Type", kind)
					if i == 0 {
						r.Header.Set("Idempotency-Key", fmt.Sprint("n", n)) // lets net/http repeat the request after a connection was closed
					}
					r.Close = i == 2
					var res *http.Response
					if res, err = client.Do(r); err == nil {
						var b []byte
						b, err = io.ReadAll(res.Body)
						_ = res.Body.Close()
						if said := strings.TrimSpace(string(b)); err == nil && said != "ok" && said != `{"result":{"connections":1}}` {
							err = errors.New(res.Status + " " + said)
						}
					}
				}
				if err != nil {
					t.Errorf("client %d, request %d: %v", i, n, err)
					return
				}
				sent[i] = n
			}
		})
	}
	got := make([]int, 3)
	heard := make(chan error, 1)
	go func() {
		heard <- func() error {
			for {
				frame, err := seven.receive()
				if err != nil {
					return err
				}
				var f struct {
					Event string
					Param json.RawMessage
				}
				if err := json.Unmarshal([]byte(frame), &f); err != nil || f.Event == "end" {
					return err
				}
				var i, n int
				if _, err := fmt.Sscanf(strings.Trim(string(f.Param), `[]"`), "%d,%d", &i, &n); err != nil {
					return fmt.Errorf("%s: %w", frame, err)
				}
				if got[i]++; got[i] != n {
					return fmt.Errorf("client %d: %d came in place of %d", i, n, got[i])
				}
			}
		}()
	}()
	for range 3 {
		s.ok("-s", "reload")
		time.Sleep(200 * time.Millisecond) // traffic between reloads
	}
	stop()
	all.Wait()
	if err := s.client("").SendToUID(t.Context(), "7", &push.Push{Event: "end"}); err != nil {
		t.Fatal(err)
	}
	if err := <-heard; err != nil {
		t.Fatal(err)
	}
	t.Logf("sent %v", sent)
	for i := range sent {
		if sent[i] != got[i] || sent[i] == 0 {
			t.Errorf("client %d: sent %d, got %d", i, sent[i], got[i])
		}
	}
}

// A back end may send its requests to any node.
func TestPushNodes(t *testing.T) {
	addr, _ := startRedis(t)
	env := append(onRedis(addr), "WSFRAME_APP_AUTH_KEY=a-key-of-all-nodes-0123456789", "WSFRAME_APP_PUSH_ONLINE_COUNT=true")
	one, two := start(t, env...), start(t, env...)
	ctx := t.Context()
	a, b := one.client(""), two.client("")
	until(t, "two nodes", func() bool { n, err := a.Counts(ctx); return err == nil && n.Nodes == 2 })
	seven := one.user(a, "7")
	eight := two.user(b, "8")
	until(t, "told", func() bool {
		frame, err := seven.receive()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(frame, `"event":"update_online_count","info":"当前2人在线，共打开2个页面","param":{"connections":2,"users":2}`)
	})
	for _, c := range []*push.Client{a, b} {
		if said, err := c.NewMsg(ctx, "7", "hi"); said != "ok" || err != nil {
			t.Error(said, err)
		}
		seven.want(`"param":"hi"`)
		if said, err := c.NewMsg(ctx, "9", "hi"); said != "offline" || err != nil {
			t.Error(said, err)
		}
	}
	for _, c := range []*push.Client{a, b} {
		if err := c.CallOnce(ctx, "only-once", "sendToUID", map[string]any{"uid": "7", "event": "once"}, nil); err != nil {
			t.Error(err)
		}
	}
	list, err := a.Connections(ctx, 0, 10)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, c := range list {
		if err := b.Join(ctx, c.FD, "A", false); err != nil {
			t.Error(err)
		}
	}
	var e *push.Error
	if err := b.SetSession(ctx, list[0].FD, map[string]json.RawMessage{"big": push.JSON(strings.Repeat("x", 17<<10))}); !errors.As(err, &e) || e.Code != push.CodeLimit {
		t.Error(err)
	}
	if err := a.SendToRoom(ctx, "A", &push.Push{Event: "room"}, push.Keep{}); err != nil {
		t.Error(err)
	}
	seven.want(`"event":"once"`)
	seven.want(`"event":"room"`)
	until(t, "the other node's", func() bool {
		frame, err := eight.receive()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(frame, `"event":"room"`)
	})
}
