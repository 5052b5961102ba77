package framework_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
	"wsframe/library/socket"
)

// pagePort is the port for socket.io pages of an App.
type pagePort struct {
	t   *testing.T
	app *framework.App
	at  string
}

func servePages(t *testing.T, h *frameworktest.Harness) pagePort {
	t.Helper()
	ln, err := socket.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- framework.ServeSocketIO(h.App, ln) }()
	t.Cleanup(func() {
		h.App.StopAccepting()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return pagePort{t, h.App, ln.Addr().String() + "/socket.io/?EIO=4"}
}

// do makes a request, and returns its status and body; 0 after an error, which fails the test. Any
// goroutine may call it.
func (p pagePort) do(method, query, body string) (int, string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), frameworktest.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+p.at+"&transport=polling"+query, strings.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return 0, ""
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Error(err)
		return 0, ""
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Error(err)
	}
	return answer.StatusCode, string(b)
}

var sessionID = regexp.MustCompile(`"sid":"([^"]+)"`)

// open makes a session that polls, and returns its part of a query. "" = it was refused.
func (p pagePort) open(query string) string {
	p.t.Helper()
	status, body := p.do("GET", query, "")
	m := sessionID.FindStringSubmatch(body)
	if status == http.StatusOK && m != nil {
		return "&sid=" + m[1]
	}
	if status != http.StatusForbidden {
		p.t.Errorf("%d %s", status, body)
	}
	return ""
}

// login connects and logs in a session that polls.
func (p pagePort) login(uid string) (sid string) {
	p.t.Helper()
	sid = p.open("")
	if status, body := p.do("POST", sid, "40\x1e"+fmt.Sprintf(`42["login",%q]`, uid)); status != http.StatusOK {
		p.t.Fatal(status, body)
	}
	if _, body := p.do("GET", sid, ""); !strings.HasPrefix(body, `40{"sid":`) {
		p.t.Fatal(body)
	}
	return sid
}

// upgrade gives a session a WebSocket.
func (p pagePort) upgrade(sid string) *websocket.Conn {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), frameworktest.Timeout)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+p.at+"&transport=websocket"+sid, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = ws.CloseNow() })
	p.write(ws, "2probe")
	p.wants(ws, "3probe")
	p.write(ws, "5")
	return ws
}

func (p pagePort) write(ws *websocket.Conn, packet string) {
	p.t.Helper()
	if err := ws.Write(p.t.Context(), websocket.MessageText, []byte(packet)); err != nil {
		p.t.Fatal(err)
	}
}

func (p pagePort) wants(ws *websocket.Conn, packet string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), frameworktest.Timeout)
	defer cancel()
	if _, got, err := ws.Read(ctx); err != nil || string(got) != packet {
		p.t.Fatalf("%q %v, want %q", got, err, packet)
	}
}

// pagesOf is an Option for pages that may log in as anybody.
func pagesOf(o *framework.Options) { o.SocketIO = &framework.SocketIO{AnyLogin: true} }

// A page is admitted by its token and the limits, as other clients are. Its WebSocket does not
// count once more.
func TestPagesAreAdmitted(t *testing.T) {
	t.Parallel()
	h := frameworktest.New(t, mountHall, frameworktest.Config(func(c *config.App) { c.Limits.ConnectionsPerIP = 1 }),
		func(o *framework.Options) { o.SocketIO = &framework.SocketIO{} })
	p := servePages(t, h)
	token, err := h.Tokens.Issue(user("7"))
	if err != nil {
		t.Fatal(err)
	}
	with := "&auth=" + url.QueryEscape(token)
	for _, query := range []string{"", "&auth=none"} {
		if p.open(query) != "" {
			t.Errorf("%q is admitted", query)
		}
	}
	sid := p.open(with)
	if sid == "" {
		t.Fatal("a token is refused")
	}
	if p.open(with) != "" {
		t.Error("a second page of the address is admitted")
	}
	if status, body := p.do("POST", sid, "40\x1e42[\"login\",\"8\"]\x1e42[\"login\",7]"); status != http.StatusOK {
		t.Error(status, body)
	}
	if n, err := h.App.Reach(t.Context(), "8", framework.OK("x", "")); n != 0 || err != nil {
		t.Error("it logged in as another user", n, err)
	}
	ws := p.upgrade(sid)
	_, connected, err := ws.Read(t.Context())
	if err != nil || !strings.HasPrefix(string(connected), "40{") {
		t.Fatalf("%s %v", connected, err)
	}
	if n, err := h.App.Reach(t.Context(), "7", framework.OK("new_msg", "", "<b>你好")); n != 1 || err != nil {
		t.Error(n, err)
	}
	p.wants(ws, `42["new_msg","<b>你好"]`)
	p.write(ws, "41")
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Error(err)
	}
	h.Eventually("its place is free", func() bool { return p.open(with) != "" })
}

// A second login of a user closes pages as it closes other connections.
func TestPagesSecondLogin(t *testing.T) {
	t.Parallel()
	for policy, stays := range map[string]int{"replace": 2, "refuse": 1} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			h := frameworktest.New(t, mountHall, frameworktest.Config(func(c *config.App) { c.Users.SecondLogin = policy }), pagesOf)
			p := servePages(t, h)
			ends := make(chan int, 2)
			for i := range 2 {
				sid := p.login("u")
				go func() {
					for {
						if status, body := p.do("GET", sid, ""); status != http.StatusOK || body == "1" { // else a Noop, which a live page answers by its next poll
							ends <- i + 1
							return
						}
					}
				}()
				h.Eventually("it polls", func() bool { return len(h.App.Hub().User("u")) > 0 })
			}
			if ended := <-ends; ended == stays {
				t.Errorf("page %d is closed", ended)
			}
			h.Eventually("one stays", func() bool { return len(h.App.Hub().User("u")) == 1 })
			h.App.Hub().User("u")[0].Close(framework.CloseKicked, "")
			<-ends
		})
	}
}

// A reload moves WebSockets of pages. Sessions that poll end, and their clients come again.
func TestTransferPages(t *testing.T) {
	t.Parallel()
	old, next := frameworktest.NewWorkers(t, true, mountHall, pagesOf)
	p := servePages(t, old)
	ws, sid := p.upgrade(p.login("u")), p.login("v")
	p.write(ws, "2") // the answer shows that it is served
	p.wants(ws, "3")
	page := old.App.Hub().User("v")[0]
	before, _ := page.BytesReceived()
	polled := make(chan string)
	go func() { _, body := p.do("GET", sid, ""); polled <- body }()
	// The next worker of this test has another port: a poll that comes later is not answered.
	old.Eventually("the poll is held", func() bool { n, _ := page.BytesReceived(); return n > before })
	if gave, _ := move(t, old.App, next.App); gave.Connections != 1 {
		t.Errorf("%d connections moved", gave.Connections)
	}
	if body := <-polled; body != "1" {
		t.Errorf("the poll gets %q", body)
	}
	if n, err := next.App.Reach(t.Context(), "u", framework.OK("new_msg", "", "x")); n != 1 || err != nil {
		t.Error(n, err)
	}
	p.wants(ws, `42["new_msg","x"]`)
	p.write(ws, `42["login","w"]`) // the second of this page
	p.write(ws, "2")
	p.wants(ws, "3")
	if n, _ := next.App.Reach(t.Context(), "w", framework.OK("x", "")); n != 0 {
		t.Error("it has logged in twice")
	}
}
