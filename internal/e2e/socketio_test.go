//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"wsframe/internal/testserver"
)

// socketVersions are the clients in testdata/socketio/package.json.
var socketVersions = []string{"1.7.4", "2.5.0", "3.1.3", "4.8.1"}

// npmFolder returns a folder with the npm packages of testdata/socketio. They are installed once.
var npmFolder = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(filepath.Dir(console), "npm")
	if err := os.CopyFS(dir, os.DirFS("testdata/socketio")); err != nil {
		return "", err
	}
	return dir, npm(dir, "install", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--no-package-lock")
})

func npm(dir string, args ...string) error {
	cmd := exec.Command("npm", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm %v: %w (Debian: apt-get install npm)\n%s", args, err, out)
	}
	return nil
}

// msgSender is a server that stands for web-msg-sender.
type msgSender struct {
	*server
	pages string // URL of the port for pages
}

func prepareMsgSender(t *testing.T, env ...string) *msgSender {
	t.Helper()
	port := testserver.FreePort(t)
	s := prepare(t, append([]string{
		"WSFRAME_APP_SOCKETIO_ENABLED=true", fmt.Sprint("WSFRAME_APP_SOCKETIO_PORT=", port), "WSFRAME_APP_SOCKETIO_LOGIN=any", "WSFRAME_APP_PUSH_ONLINE_COUNT=true",
	}, env...)...)
	return &msgSender{s, fmt.Sprint("http://127.0.0.1:", port)}
}

func msgSenderOf(t *testing.T, env ...string) *msgSender {
	t.Helper()
	s := prepareMsgSender(t, env...)
	s.serve(console)
	return s
}

// publish pushes as back ends of web-msg-sender do, and returns the answer. to "" = everybody.
func (s *msgSender) publish(to, content string) string {
	s.t.Helper()
	form := url.Values{"type": {"publish"}, "content": {content}, "to": {to}}
	resp, err := http.PostForm("http://"+s.push+"/", form)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// socketPages are pages without a browser, by their ids.
type socketPages struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer

	mu     sync.Mutex
	events map[string][]socketEvent
}

type socketEvent struct {
	ID    string
	Event string
	Args  []any
}

func openPages(t *testing.T) *socketPages {
	t.Helper()
	dir, err := npmFolder()
	if err != nil {
		t.Fatal(err)
	}
	p := &socketPages{t: t, cmd: exec.Command("node", "pages.js"), events: map[string][]socketEvent{}}
	p.cmd.Dir = dir
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e socketEvent
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				p.mu.Lock()
				p.events[e.ID] = append(p.events[e.ID], e)
				p.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		<-done
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("events: %v", p.events)
		}
	})
	return p
}

func (p *socketPages) do(command map[string]any) {
	p.t.Helper()
	b, err := json.Marshal(command)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(p.in, "%s\n", b); err != nil {
		p.t.Fatal(err)
	}
}

// open opens a page. transports "" = the defaults of its version. uid nil = no login.
func (p *socketPages) open(id, version, url, transports string, uid any) {
	p.t.Helper()
	options := map[string]any{}
	if transports != "" {
		options["transports"] = []string{transports}
	}
	p.do(map[string]any{"do": "open", "id": id, "version": version, "url": url, "options": options, "uid": uid})
}

func (p *socketPages) close(id string) { p.t.Helper(); p.do(map[string]any{"do": "close", "id": id}) }

// all returns the first arguments of a page's events of one name, so far.
func (p *socketPages) all(id, event string) (args []any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events[id] {
		if e.Event == event {
			args = append(args, append(e.Args, nil)[0])
		}
	}
	return args
}

// until waits until a page has had an event with this first argument.
func (p *socketPages) until(id, event string, arg any) {
	p.t.Helper()
	until(p.t, fmt.Sprintf("%s: %s %v", id, event, arg), func() bool { return slices.Contains(p.all(id, event), arg) })
}

// count waits until a page has had so many events of one name.
func (p *socketPages) count(id, event string, n int) {
	p.t.Helper()
	until(p.t, fmt.Sprintf("%s: %d of %s", id, n, event), func() bool { return len(p.all(id, event)) >= n })
}

// online is the text for so many users and pages.
func online(users, pages int) string {
	return fmt.Sprintf("当前<b>%d</b>人在线，共打开<b>%d</b>个页面", users, pages)
}

// All clients connect over each transport, log in by a text, a number and a Chinese text, and get
// what back ends push to their uid and to all.
func TestSocketIOClients(t *testing.T) {
	t.Parallel()
	s := msgSenderOf(t)
	p := openPages(t)
	uids := map[string]any{}
	for _, version := range socketVersions {
		for _, transport := range []string{"", "polling", "websocket"} {
			for i, uid := range []any{"u" + version + transport, 1000 + len(uids), "用" + version + transport, "用😀 " + version + transport} {
				id := fmt.Sprint(version, transport, i)
				uids[id] = uid
				p.open(id, version, s.pages, transport, uid)
			}
		}
	}
	for id, uid := range uids {
		p.count(id, "connect", 1)
		until(t, fmt.Sprintf("a page of %v is reached", uid), func() bool { return s.publish(fmt.Sprint(uid), "for "+id) == "ok" })
		p.until(id, "new_msg", "for "+id)
	}
	if got := s.publish("", "你好 <b>"); got != "ok" {
		t.Error(got)
	}
	if got := s.publish("nobody", "x"); got != "offline" {
		t.Error(got)
	}
	for id := range uids {
		p.until(id, "new_msg", "你好 &lt;b&gt;")
		p.until(id, "update_online_count", online(len(uids), len(uids)))
		if got := p.all(id, "new_msg"); len(got) != 2 || got[0] != "for "+id {
			t.Errorf("%s got %q", id, got)
		}
	}
	for id := range uids {
		want := "polling"
		if !strings.Contains(id, "polling") {
			want = "websocket"
		}
		until(t, id+" is on "+want, func() bool {
			p.do(map[string]any{"do": "ask", "id": id})
			list := p.all(id, "transport")
			return len(list) > 0 && list[len(list)-1] == want
		})
		if got := p.all(id, "disconnect"); len(got) > 0 {
			t.Errorf("%s: %v", id, got)
		}
	}
	for id := range uids {
		p.close(id)
	}
	p.open("last", "4.8.1", s.pages, "", "last")
	p.until("last", "update_online_count", online(1, 1))
}

// A hundred pushes to a uid come in order and once over each transport, and across the upgrade,
// which begins with the first of them.
func TestSocketIOOrder(t *testing.T) {
	t.Parallel()
	s := msgSenderOf(t)
	p := openPages(t)
	const pushes = 100
	for _, version := range socketVersions {
		for _, transport := range []string{"", "polling", "websocket"} {
			id := version + transport
			p.open(id, version, s.pages, transport, id)
			until(t, id+" is reached", func() bool { return s.publish(id, "0") == "ok" })
			for i := range pushes {
				if got := s.publish(id, fmt.Sprint(i+1)); got != "ok" {
					t.Fatalf("%s: push %d: %s", id, i+1, got)
				}
			}
			p.count(id, "new_msg", pushes+1)
			for i, got := range p.all(id, "new_msg") {
				if got != fmt.Sprint(i) {
					t.Fatalf("%s: push %d is %v", id, i, got)
				}
			}
		}
	}
}

// Pages come back by themselves after a restart and log in again. A reload is not noticed over
// WebSockets.
func TestSocketIOComeBack(t *testing.T) {
	t.Parallel()
	s := prepareMsgSender(t)
	s.serve(console)
	p := openPages(t)
	var ids []string
	for _, version := range socketVersions {
		for _, transport := range []string{"websocket", "polling"} {
			id := version + transport
			ids = append(ids, id)
			p.open(id, version, s.pages, transport, id)
		}
	}
	reached := func(text string) {
		t.Helper()
		for _, id := range ids {
			until(t, id+" is reached", func() bool { return s.publish(id, text) == "ok" })
			p.until(id, "new_msg", text)
		}
	}
	reached("first")
	s.ok("-s", "reload")
	reached("after the reload")
	for _, id := range ids {
		if n := len(p.all(id, "disconnect")); n > 0 && strings.HasSuffix(id, "websocket") {
			t.Errorf("%s has noticed the reload", id)
		}
	}
	before := map[string]int{}
	for _, id := range ids {
		before[id] = len(p.all(id, "connect"))
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	again := *s.server
	again.ended, again.out = make(chan struct{}), &lockedBuffer{}
	again.serve(console)
	for _, id := range ids {
		p.count(id, "connect", before[id]+1)
	}
	reached("after the restart")
}

// A client that drops, and one that leaves, are not online any more.
func TestSocketIOEnds(t *testing.T) {
	t.Parallel()
	s := msgSenderOf(t)
	p, dropped := openPages(t), openPages(t)
	for _, version := range socketVersions {
		p.open(version, version, s.pages, "", "stays")
		p.open(version+"polling", version, s.pages, "polling", "leaves")
		dropped.open(version, version, s.pages, "websocket", "drops")
	}
	p.until("4.8.1", "update_online_count", online(3, 12))
	if err := dropped.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.until("4.8.1", "update_online_count", online(2, 8))
	for _, version := range socketVersions {
		p.close(version + "polling")
	}
	p.until("4.8.1", "update_online_count", online(1, 4))
	if got := s.publish("leaves", "x"); got != "offline" {
		t.Error(got)
	}
}

// With login: token a page needs a token, and can log in as its user only.
func TestSocketIOToken(t *testing.T) {
	t.Parallel()
	s := msgSenderOf(t, "WSFRAME_APP_SOCKETIO_LOGIN=token")
	token := s.token("user", "u7")
	p := openPages(t)
	for _, version := range socketVersions {
		p.open("none"+version, version, s.pages, "", "u7")
		for _, uid := range []string{"u7", "u8"} {
			p.open(uid+version, version, s.pages+"/?auth="+token, "", uid)
		}
	}
	for _, version := range socketVersions {
		p.count("none"+version, "connect_error", 1)
		p.count("u7"+version, "connect", 1)
		p.count("u8"+version, "connect", 1)
	}
	until(t, "all pages of the user are online", func() bool {
		s.publish("u7", "for u7")
		for _, version := range socketVersions {
			if !slices.Contains(p.all("u7"+version, "new_msg"), "for u7") {
				return false
			}
		}
		return true
	})
	if got := s.publish("u8", "x"); got != "offline" {
		t.Errorf("u8 is %s", got)
	}
	for _, version := range socketVersions {
		if got := append(p.all("u8"+version, "new_msg"), p.all("none"+version, "connect")...); len(got) > 0 {
			t.Errorf("%s: %v", version, got)
		}
	}
}

// A page that polls gets what was sent before its user is thrown out.
func TestSocketIOLastWords(t *testing.T) {
	t.Parallel()
	s := msgSenderOf(t)
	p := openPages(t)
	for _, version := range socketVersions {
		for _, transport := range []string{"polling", "websocket"} {
			id := version + transport
			p.open(id, version, s.pages, transport, id)
			until(t, id+" is reached", func() bool { return s.publish(id, "hello") == "ok" })
			s.publish(id, "last words")
			if status, body := fetch(t, "POST", "http://"+s.push+"/api/v1/kickUID", "application/json", fmt.Sprintf(`{"uid":%q}`, id)); status != 200 {
				t.Fatal(status, body)
			}
			p.until(id, "new_msg", "last words")
			p.count(id, "disconnect", 1)
			p.count(id, "connect", 2)
		}
	}
}
