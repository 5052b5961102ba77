//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// line is a proxy between a page and the server. It can be cut: both ends then see a reset, and new
// connections are refused. Before that it can be held: data from the server then waits in the
// proxy.
type line struct {
	addr string

	mu    sync.Mutex
	moved *sync.Cond
	cut   bool
	held  bool
	conns map[net.Conn]bool
	tried int // attempts to connect while the line was cut
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{addr: ln.Addr().String(), conns: map[net.Conn]bool{}}
	l.moved = sync.NewCond(&l.mu)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() { l.carry(in, to) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		l.Cut()
		work.Wait()
	})
	return l
}

func (l *line) carry(in net.Conn, to string) {
	defer in.Close()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	l.mu.Lock()
	if l.cut {
		l.tried++
		l.mu.Unlock()
		return
	}
	l.conns[in], l.conns[out] = true, true
	l.mu.Unlock()
	var both sync.WaitGroup
	pass := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from) // any error ends the copy
		_, _ = in.Close(), out.Close()
	}
	both.Go(func() { pass(out, in) })
	both.Go(func() { pass(gate{l, in}, out) })
	both.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, in)
	delete(l.conns, out)
}

// gate copies data to the page.
type gate struct {
	*line
	net.Conn
}

func (g gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	for g.held && !g.cut {
		g.moved.Wait()
	}
	g.mu.Unlock()
	return g.Conn.Write(p)
}

func (l *line) Hold() { l.mu.Lock(); defer l.mu.Unlock(); l.held = true }

func (l *line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.tried = true, 0
	l.moved.Broadcast()
	for c := range l.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

func (l *line) Restore() { l.mu.Lock(); defer l.mu.Unlock(); l.cut, l.held = false, false }

func (l *line) Tried() int { l.mu.Lock(); defer l.mu.Unlock(); return l.tried }

// chats returns the links to the chat, for 小明 and 小红. Behind a line, the pages connect through it.
func (s *server) chats() []string {
	s.t.Helper()
	links := regexp.MustCompile(`http://\S+/static/chat\.html#auth=\S+`).FindAllString(s.out.String(), -1)
	if len(links) != 2 {
		s.t.Fatalf("start printed the links %q", links)
	}
	return links
}

// shown returns the texts of the messages on a page, in order.
func shown(t *testing.T, tab context.Context) []string {
	t.Helper()
	list, err := chromedp.Run(tab, chromedp.Evaluate[[]string](`[...document.querySelectorAll('#talk article p')].map((p) => p.textContent)`))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func wantShown(t *testing.T, who string, tab context.Context, want ...string) {
	t.Helper()
	until(t, fmt.Sprintf("%s sees %q", who, want), func() bool { return len(shown(t, tab)) >= len(want) })
	if got := shown(t, tab); !slices.Equal(got, want) {
		t.Fatalf("%s sees %q, want %q", who, got, want)
	}
}

func article(text string) string {
	return `//article[contains(., "` + text + `") and not(contains(@class, "pending"))]`
}

func screenshot(t *testing.T, tab context.Context, name string) {
	t.Helper()
	dir := os.Getenv("WSFRAME_SCREENSHOT")
	if dir == "" {
		return
	}
	if dir == "1" {
		if name != "chat" {
			return
		}
		dir = filepath.Join(root, "docs", "images")
	}
	still(t, tab)
	png, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Two users chat in a room. One loses its connection and receives the missed messages once, one
// reloads its page, and they exchange private messages. With WSFRAME_SCREENSHOT=1, the test saves
// the picture of the README; with a folder, all pictures in that folder.
func TestBrowserChat(t *testing.T) {
	s := start(t)
	links, way := s.chats(), newLine(t, s.outside)
	ming := openBrowser(t, "zh-CN")
	run(t, ming, chromedp.EmulateViewport(1280, 800), chromedp.Navigate(strings.Replace(links[0], s.outside, way.addr, 1)), chromedp.WaitVisible(`.state.open`))
	hong := openTab(t, ming)
	run(t, hong, chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile), chromedp.Navigate(links[1]), chromedp.WaitVisible(`.state.open`))
	run(t, ming, chromedp.WaitVisible(`//*[@id="members"]//button[contains(., "小红")]`), chromedp.WaitVisible(`//*[@class="note" and text()="小红 来了"]`))

	var all []string // texts sent to the room
	talk := func(from context.Context, text string) {
		t.Helper()
		say(t, from, text)
		all = append(all, text)
		wantShown(t, "小明", ming, all...)
		wantShown(t, "小红", hong, all...)
	}
	back := func() {
		t.Helper()
		until(t, "the page tries to come back", func() bool { return way.Tried() > 0 })
		way.Restore()
		run(t, ming, chromedp.WaitVisible(`.state.open`))
	}
	talk(ming, `<img src=x onerror="document.title='pwned'">大家好！`) // HTML is shown as text
	talk(hong, "你好，小明")

	// After a cut, the missed messages arrive when the line is back, and no earlier message arrives
	// again.
	way.Cut()
	run(t, ming, chromedp.WaitNotPresent(`.state.open`))
	for _, text := range []string{"新版本支持断线恢复了", "网络断开时也不会丢消息", "连回来就能看到"} {
		say(t, hong, text)
		all = append(all, text)
		run(t, hong, chromedp.WaitVisible(article(text)))
	}
	back()
	run(t, ming, chromedp.WaitVisible(`//*[@class="note" and text()="已补回 3 条错过的消息"]`))
	wantShown(t, "小明", ming, all...)
	talk(ming, "回来了，一条不少")

	// The line breaks after the server accepted a message, and before the page knows. The message
	// is first shown as unsent, and then, once, as sent.
	way.Hold()
	say(t, ming, "这条发出去了吗？")
	run(t, hong, chromedp.WaitVisible(article("这条发出去了吗")))
	way.Cut()
	run(t, ming, chromedp.WaitVisible(`article.failed`))
	screenshot(t, ming, "chat-failed")
	back()
	all = append(all, "这条发出去了吗？")
	run(t, ming, chromedp.WaitNotPresent(`article.pending`))
	talk(hong, "发出去了")

	// A reloaded page shows the current state of the room.
	run(t, hong, chromedp.Reload(), chromedp.WaitReady(`.state.open`))
	wantShown(t, "小红", hong, all...)

	// The users exchange private messages.
	click(t, ming, `//*[@id="members"]//button[contains(., "小红")]`)
	run(t, ming, chromedp.WaitVisible(`//h1[text()="小红"]`))
	say(t, ming, "悄悄问一句，晚上一起吃饭吗？")
	wantShown(t, "小明", ming, "悄悄问一句，晚上一起吃饭吗？")
	run(t, hong, chromedp.WaitVisible(`#elsewhere`))
	wantShown(t, "小红", hong, all...) // this page still shows the room
	click(t, hong, `#menu`)
	run(t, hong, chromedp.WaitVisible(`//*[@id="users"]//button[contains(., "小明")]/b[text()="1"]`))
	screenshot(t, hong, "chat-menu")
	click(t, hong, `//*[@id="users"]//button[contains(., "小明")]`)
	run(t, hong, chromedp.WaitVisible(article("晚上一起吃饭")))
	say(t, hong, "好呀，六点见")
	run(t, ming, chromedp.WaitVisible(article("六点见")))
	run(t, hong, chromedp.Reload(), chromedp.WaitReady(`.state.open`))
	wantShown(t, "小红", hong, "悄悄问一句，晚上一起吃饭吗？", "好呀，六点见")

	click(t, ming, `//*[@id="rooms"]//button[contains(., "技术交流")]`)
	run(t, ming, chromedp.WaitVisible(`//*[@id="total" and text()="1"]`))
	others := []struct{ nickname, text string }{{"阿强", "PHP 转 Go 第一天，半小时就写好了一个房间"}, {"Lena", "Greetings from Berlin!"}, {"老王", "服务器 reload 的时候聊天也没断，这是怎么做到的？"}}
	peers := make([]*peer, len(others))
	for i, other := range others {
		out := strings.Fields(s.ok("-s", "token", "-type", "wechatUser", "-id", fmt.Sprint("other-", i), "-code", "demo", "-nickname", other.nickname))
		peers[i] = dial(t, s.outside, out[len(out)-1])
		peers[i].send(`{"method":"chat.room.join","room":"lobby"}`)
		run(t, ming, chromedp.WaitReady(fmt.Sprintf(`//*[@id="rooms"]//button[contains(., "大厅")]/small[text()="%d"]`, i+3)))
	}
	for i, other := range others {
		peers[i].send(`{"method":"chat.room.say","room":"lobby","text":"` + other.text + `"}`)
		run(t, ming, chromedp.WaitReady(fmt.Sprintf(`//*[@id="rooms"]//button[contains(., "大厅")]/b[text()="%d"]`, i+1)))
		all = append(all, other.text)
	}
	click(t, ming, `//*[@id="rooms"]//button[contains(., "大厅")]`)
	run(t, ming, chromedp.WaitVisible(`//*[@id="members"]//button[contains(., "老王")]`))
	wantShown(t, "小明", ming, all...)
	say(t, ming, "socket 直接交给新进程，浏览器毫无察觉")
	click(t, hong, `#menu`)
	click(t, hong, `//*[@id="rooms"]//button[contains(., "大厅")]`)
	run(t, hong, chromedp.WaitVisible(article("毫无察觉")))
	until(t, "views are shown", func() bool {
		text, err := chromedp.Run(ming, chromedp.Text(`#views`))
		return err == nil && strings.Contains(text, "次访问")
	})
	peers[0].send(`{"method":"chat.room.join","room":"tech"}`)
	peers[0].send(`{"method":"chat.room.say","room":"tech","text":"有人吗？"}`)
	run(t, ming, chromedp.WaitVisible(`//*[@id="rooms"]//button[contains(., "技术交流")]/b[text()="1"]`))
	screenshot(t, ming, "chat")
	screenshot(t, hong, "chat-phone")

	// After a leave, later messages do not arrive.
	click(t, hong, `#leave`)
	run(t, hong, chromedp.WaitReady(`//*[@id="rooms"]//button[contains(@class, "outside") and contains(., "大厅")]`))
	for name, tab := range map[string]context.Context{"小明": ming, "小红": hong} {
		if title, err := chromedp.Run(tab, chromedp.Title()); err != nil || title == "pwned" || countOf(t, tab, "article img") != 0 {
			t.Errorf("the page of %s has read a message as HTML: %q %v", name, title, err)
		}
	}
}

// A page does not notice a reload of the server: its connection stays open, and messages before and
// after the reload arrive once.
func TestBrowserChatReload(t *testing.T) {
	s := start(t)
	links := s.chats()
	ming := openBrowser(t, "en-US")
	watched := func(tab context.Context) {
		t.Helper()
		_, err := chromedp.Call(tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `globalThis.sockets = [];
			globalThis.WebSocket = class extends WebSocket { constructor(...a) { super(...a); sockets.push('opened'); this.addEventListener('close', () => sockets.push('closed')); } };`})
		if err != nil {
			t.Fatal(err)
		}
	}
	watched(ming)
	run(t, ming, chromedp.EmulateViewport(1280, 760), chromedp.Navigate(links[0]), chromedp.WaitVisible(`//*[contains(@class, "open") and text()="Connected"]`))
	hong := openTab(t, ming)
	watched(hong)
	run(t, hong, chromedp.Navigate(links[1]), chromedp.WaitVisible(`.state.open`))
	var all []string
	for i := range 3 {
		for who, tab := range map[string]context.Context{"Ming": ming, "Hong": hong} {
			text := fmt.Sprintf("%s says %d", who, i)
			say(t, tab, text)
			all = append(all, text)
			wantShown(t, "Ming", ming, all...)
			wantShown(t, "Hong", hong, all...)
		}
		old := s.status().WorkerPID
		s.ok("-s", "reload")
		if s.status().WorkerPID == old {
			t.Fatal("the worker is the old one")
		}
	}
	click(t, ming, `//*[@id="members"]//button[contains(., "小红")]`)
	say(t, ming, "still here?")
	click(t, hong, `//*[@id="users"]//button[contains(., "小明")]`)
	run(t, hong, chromedp.WaitVisible(article("still here?")))
	for who, tab := range map[string]context.Context{"Ming": ming, "Hong": hong} {
		events, err := chromedp.Run(tab, chromedp.Evaluate[[]string](`sockets`))
		if err != nil || !slices.Equal(events, []string{"opened"}) {
			t.Errorf("the page of %s saw its connections %q %v", who, events, err)
		}
		if n := countOf(t, tab, ".state.open"); n != 1 {
			t.Errorf("the page of %s says that it is not connected", who)
		}
	}
}

// A page that joins a silent room and loses its connection receives the messages that it missed,
// because its position is that of the join.
func TestBrowserQuietRoom(t *testing.T) {
	s := start(t)
	way := newLine(t, s.outside)
	page := openBrowser(t, "zh-CN")
	run(t, page, chromedp.Navigate("http://"+way.addr+"/static/user.html"))
	script := fmt.Sprintf(`(async () => {
		const ws = wsframe.connect({ url: 'ws://%s/', token: %q }), placed = new Promise((done) => ws.on('sysPosition', done));
		globalThis.got = [];
		globalThis.recovered = [];
		ws.on('roomSay', (m) => got.push(m.text));
		ws.on('sysRecovered', (r) => recovered.push(r.recovered));
		ws.on('close', () => { globalThis.cut = true; });
		ws.on('open', () => ws.call('chat.room.join', { room: 'tech' }));
		await placed;
		return 'placed';
	})()`, way.addr, s.token("wechatUser", "quiet"))
	if said, err := chromedp.Run(page, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise)); err != nil || said != "placed" {
		t.Fatal(said, err)
	}
	way.Cut()
	is := func(expression string) bool {
		ok, err := chromedp.Run(page, chromedp.Evaluate[bool](expression))
		return err == nil && ok
	}
	until(t, "the page knows that its line is cut", func() bool { return is(`!!globalThis.cut`) })
	other := dial(t, s.outside, s.token("wechatUser", "other"))
	other.send(`{"method":"chat.room.join","room":"tech"}`)
	for _, text := range []string{"one", "two"} {
		other.send(`{"method":"chat.room.say","room":"tech","text":"` + text + `"}`)
		for said := ""; !strings.Contains(said, `"text":"`+text+`"`); { // after the pushes that follow a join
			var err error
			if said, err = other.receive(); err != nil {
				t.Fatal(err)
			}
		}
	}
	way.Restore()
	until(t, "the page has both", func() bool { return is(`got.length >= 2`) })
	if got, err := chromedp.Run(page, chromedp.Evaluate[string](`JSON.stringify([got, recovered])`)); err != nil || got != `[["one","two"],[true]]` {
		t.Errorf("%s %v", got, err)
	}
}
