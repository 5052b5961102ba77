//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"wsframe/framework/manager"
)

// links returns the links of the demo, as start prints them: the wall and the user.
func (s *server) links() []string {
	s.t.Helper()
	links := regexp.MustCompile(`http://\S+/static/(?:wall|user)\.html#auth=\S+`).FindAllString(s.out.String(), -1)
	if len(links) != 2 {
		s.t.Fatalf("start printed the links %q", links)
	}
	return links
}

// openBrowser starts a Chromium with one tab. Everything in it ends after three minutes.
func openBrowser(t *testing.T, language string) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("accept-lang", language), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	return openTab(t, ctx)
}

// openTab opens a tab that fails the test if its pages throw or violate their content security
// policy.
func openTab(t *testing.T, parent context.Context) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent)
	t.Cleanup(cancel)
	err := chromedp.Listen(ctx, func(e any) {
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("a page threw: %s %s", e.ExceptionDetails.Text, e.ExceptionDetails.Exception.Description)
		case *log.EventEntryAdded:
			if e.Entry.Source == log.EntrySourceSecurity {
				t.Errorf("a page broke its policy: %s", e.Entry.Text)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

func run(t *testing.T, page context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(page, actions...); err != nil {
		t.Fatal(err)
	}
}

// still waits until nothing on the page moves, because a click would miss a moving element.
func still(t *testing.T, page context.Context) {
	t.Helper()
	until(t, "nothing moves", func() bool {
		n, err := chromedp.Run(page, chromedp.Evaluate[int](`document.getAnimations().filter((a) => a.playState === 'running').length`))
		return err == nil && n == 0
	})
}

func click(t *testing.T, page context.Context, selector string) {
	t.Helper()
	run(t, page, chromedp.WaitVisible(selector))
	still(t, page)
	run(t, page, chromedp.Click(selector))
}

// follow clicks what leads to another page, and waits until that page is loaded: what is looked up in
// the middle of a navigation is of either page.
func follow(t *testing.T, page context.Context, selector string) {
	t.Helper()
	if _, err := chromedp.RunResponse(page, chromedp.Click(selector)); err != nil {
		t.Fatal(err)
	}
}

func say(t *testing.T, page context.Context, text string) {
	t.Helper()
	run(t, page, chromedp.SendKeys(`#say`, text), chromedp.Click(`#send`))
}

func countOf(t *testing.T, page context.Context, selector string) int {
	t.Helper()
	n, err := chromedp.Run(page, chromedp.Evaluate[int](fmt.Sprintf(`document.querySelectorAll(%q).length`, selector)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Messages of users reach all pages after the wall's approval. With WSFRAME_SCREENSHOT, the test
// saves the pictures of the README.
func TestBrowser(t *testing.T) {
	s := start(t)
	links := s.links()
	wall := openBrowser(t, "zh-CN")
	run(t, wall, chromedp.EmulateViewport(1600, 900), chromedp.Navigate(links[0]), chromedp.WaitVisible(`//*[contains(@class, "open") and text()="已连接"]`))
	user := openTab(t, wall)
	run(t, user, chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile), chromedp.Navigate(links[1]), chromedp.WaitVisible(`.state.open`))

	say(t, wall, "欢迎来到新品发布会！")
	run(t, user, chromedp.WaitVisible(`//article[contains(., "欢迎来到")]`))
	say(t, user, "前排占座，大家好")
	run(t, wall, chromedp.WaitVisible(`//aside//article[contains(., "大家好")]`))
	run(t, user, chromedp.WaitVisible(`//article[contains(@class, "pending") and contains(., "大家好")]`))
	if countOf(t, user, "article.mine") != 0 {
		t.Fatal("the message is shown before it is approved")
	}
	click(t, wall, `aside button.ok`)
	run(t, wall, chromedp.WaitVisible(`//section//article[contains(., "大家好")]`))
	run(t, user, chromedp.WaitVisible(`//article[contains(@class, "mine") and contains(., "大家好")]`))
	for i, other := range []struct{ nickname, text string }{
		{"阿强", "请问支持横向扩展吗？"}, {"Lena", "Greetings from Berlin!"}, {"小红", "这个大屏幕真好看"}, {"老王", "第一次用 wsframe，五分钟就写好了一个模块"},
	} {
		out := strings.Fields(s.ok("-s", "token", "-type", "wechatUser", "-id", fmt.Sprint("other-", i), "-code", "demo", "-nickname", other.nickname))
		p := dial(t, s.outside, out[len(out)-1])
		p.send(`{"method":"live.user.say","say":"` + other.text + `"}`)
		p.want("userSaySuccess")
		run(t, wall, chromedp.WaitVisible(`//aside//article[contains(., "`+other.text+`")]`))
		if i < 2 {
			click(t, wall, `aside button.ok`)
			run(t, wall, chromedp.WaitVisible(`//section//article[contains(., "`+other.text+`")]`)) // the queue no longer contains it
			run(t, user, chromedp.WaitVisible(`//article[contains(@class, "other") and contains(., "`+other.text+`")]`))
		}
	}
	say(t, user, "第一次用，好快")
	run(t, wall, chromedp.WaitVisible(`//aside//article[contains(., "好快")]`))
	if n := countOf(t, wall, "aside article"); n != 3 {
		t.Errorf("%d messages await review, want 3", n)
	}
	if os.Getenv("WSFRAME_SCREENSHOT") != "" {
		for name, page := range map[string]context.Context{"wall": wall, "user": user} {
			run(t, page, chromedp.Sleep(time.Second)) // time for the entry's animation and the barrage
			png, err := chromedp.Run(page, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(root, "docs", "images", name+".png")
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, png, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Pages reconnect automatically after the death of the worker, and each message in the review queue
// appears once. The wall recalls, drops and clears messages.
func TestBrowserComesBack(t *testing.T) {
	s := start(t)
	links := s.links()
	wall := openBrowser(t, "en-US")
	run(t, wall, chromedp.EmulateViewport(1600, 900), chromedp.Navigate(links[0]), chromedp.WaitVisible(`//*[contains(@class, "open") and text()="Connected"]`))
	user := openTab(t, wall)
	run(t, user, chromedp.EmulateViewport(390, 844), chromedp.Navigate(links[1]), chromedp.WaitVisible(`.state.open`))
	say(t, wall, "to be recalled")
	run(t, user, chromedp.WaitVisible(`//article[contains(., "to be recalled")]`))
	say(t, user, `<img src=x onerror="document.title='pwned'">asked before`)
	run(t, wall, chromedp.WaitVisible(`//aside//article[contains(., "asked before")]`))

	old := s.status().WorkerPID
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "both pages are connected to the new worker", func() bool {
		out, _, code := s.run("-s", "status", "-json")
		var st manager.Status
		return code == 0 && json.Unmarshal([]byte(out), &st) == nil && st.WorkerPID != old && st.Connections == 2 && st.Rooms == 2
	})
	run(t, wall, chromedp.WaitVisible(`.state.open`), chromedp.WaitVisible(`//aside//article[contains(., "asked before")]`))
	if n := countOf(t, wall, "aside article"); n != 1 {
		t.Errorf("%d messages await review, want 1", n)
	}
	if n := countOf(t, wall, "section article"); n != 1 {
		t.Errorf("%d messages are on the wall, want 1", n)
	}
	click(t, wall, `aside button.ok`)
	run(t, user, chromedp.WaitVisible(`//article[contains(@class, "mine") and contains(., "asked before")]`))
	run(t, wall, chromedp.WaitVisible(`//section//article[contains(., "asked before")]`)) // the new entry moves the others

	click(t, wall, `//section//article[contains(., "to be recalled")]//button`)
	run(t, wall, chromedp.WaitNotPresent(`//section//article[contains(., "to be recalled")]`))
	run(t, user, chromedp.WaitNotPresent(`//article[contains(., "to be recalled")]`))
	for i, text := range []string{"dropped", "cleared one", "cleared two"} {
		say(t, user, text)
		run(t, wall, chromedp.WaitVisible(`//aside//article[contains(., "`+text+`")]`))
		if i == 0 {
			click(t, wall, `aside .choice button.quiet`)
			run(t, wall, chromedp.WaitNotPresent(`aside article`))
		}
	}
	click(t, wall, `#clean`)
	run(t, wall, chromedp.WaitNotPresent(`aside article`), chromedp.WaitVisible(`#none`))
	for name, page := range map[string]context.Context{"wall": wall, "user": user} {
		if title, err := chromedp.Run(page, chromedp.Title()); err != nil || title == "pwned" || countOf(t, page, "article img") != 0 {
			t.Errorf("the %s has read a message as HTML: %q %v", name, title, err)
		}
	}
	if n := countOf(t, user, "article.mine"); n != 1 {
		t.Errorf("the user sees %d approved messages, want 1", n)
	}
}

// The operator's text from the console appears on every page unchanged, and does not look like an
// error.
func TestBrowserSay(t *testing.T) {
	s := start(t)
	links := s.links()
	wall := openBrowser(t, "zh-CN")
	run(t, wall, chromedp.EmulateViewport(1600, 900), chromedp.Navigate(links[0]), chromedp.WaitVisible(`.state.open`))
	user := openTab(t, wall)
	run(t, user, chromedp.EmulateViewport(390, 844), chromedp.Navigate(links[1]), chromedp.WaitVisible(`.state.open`))
	const text = "茶歇十分钟 <b>3:10</b>"
	s.ok("-s", "say", "-i", text)
	run(t, wall, chromedp.WaitVisible(`//*[contains(@class, "alarm") and contains(@class, "said") and text()="`+text+`"]`))
	run(t, user, chromedp.WaitVisible(`//*[@id="talk"]//*[text()="`+text+`"]`))
}

// Events of the server with the names of the client's own events are ordinary pushes: the page
// stays connected.
func TestBrowserEventNames(t *testing.T) {
	s := start(t)
	page := openBrowser(t, "en-US")
	run(t, page, chromedp.Navigate(s.links()[1]), chromedp.WaitVisible(`.state.open`))
	script := fmt.Sprintf(`(async () => {
		const ws = wsframe.connect({ url: 'ws://%s/', token: %q }), own = [], got = [];
		ws.on('open', () => own.push('open'));
		ws.on('close', () => own.push('close'));
		await ws.call('index.index.index'); // the call waits for the connection
		const all = new Promise((done) => {
			for (const event of ['open', 'close', 'error', 'state', 'message']) ws.server.on(event, (param) => { if (got.push(event + param) === 5) done(); });
		});
		globalThis.pushed = async () => {
			await all;
			const { info } = await ws.call('index.index.index');
			const before = [...own];
			ws.close();
			return JSON.stringify([before, got, info]);
		};
		return 'ready';
	})()`, s.outside, s.token("wechatUser", "names"))
	if said, err := chromedp.Run(page, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise)); err != nil || said != "ready" {
		t.Fatal(said, err)
	}
	for _, event := range []string{"open", "close", "error", "state", "message"} {
		resp, err := http.Post("http://"+s.push+"/api/v1/sendToUID", "application/json", strings.NewReader(`{"uid":"names","event":"`+event+`","param":1}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("push %s: %d", event, resp.StatusCode)
		}
	}
	said, err := chromedp.Run(page, chromedp.Evaluate[string](`pushed()`, chromedp.EvalAwaitPromise))
	if want := `[["open"],["open1","close1","error1","state1","message1"],"执行完成"]`; err != nil || said != want {
		t.Fatalf("%v: got %s, want %s", err, said, want)
	}
}

// A page that cannot connect says so, and the front page has links to the others.
func TestBrowserWithoutToken(t *testing.T) {
	s := start(t)
	base := "http://" + s.outside + "/static/"
	page := openBrowser(t, "en-US")
	run(t, page, chromedp.Navigate(base+"user.html"))
	follow(t, page, `a.button`)
	run(t, page, chromedp.WaitVisible(`.cards`), chromedp.SendKeys(`#wall input`, s.token("wall", "w9")))
	follow(t, page, `#wall button`)
	run(t, page, chromedp.WaitVisible(`.wall .state.open`))
	refused := openTab(t, page)
	run(t, refused, chromedp.Navigate(base+"wall.html#auth=w1.forged"), chromedp.WaitVisible(`.state.bad`))
	wrong := openTab(t, page)
	run(t, wrong, chromedp.Navigate(base+"user.html#auth="+s.token("wall", "w8")), chromedp.WaitVisible(`//*[contains(@class, "bad") and contains(., "仅允许微信用户连入")]`))
}

// The client works in a mini program: in a page without WebSocket, but with a wx that has sockets,
// it makes calls, detects a lost connection when it comes to the foreground, and reconnects.
func TestMiniProgram(t *testing.T) {
	s := start(t)
	page := openBrowser(t, "zh-CN")
	source, err := os.ReadFile(filepath.Join(root, "public", "static", "wsframe.js"))
	if err != nil {
		t.Fatal(err)
	}
	source = bytes.Replace(source, []byte("export { connect };"), []byte("module.exports = { connect };"), 1)
	script := fmt.Sprintf(`(async () => {
		const Socket = WebSocket, tasks = [];
		let show;
		const wx = {
			connectSocket({ url, protocols }) {
				const ws = new Socket(url, protocols), task = { frozen: false };
				for (const [name, event] of [['onOpen', 'open'], ['onMessage', 'message'], ['onClose', 'close'], ['onError', 'error']]) {
					task[name] = (f) => ws.addEventListener(event, (e) => { if (!task.frozen) f(e); });
				}
				task.send = ({ data }) => { if (!task.frozen) ws.send(data); };
				task.close = ({ code }) => ws.close(code);
				tasks.push(task);
				return task;
			},
			onAppShow(f) { show = f; }, offAppShow() { show = null; }, onNetworkStatusChange() {}, offNetworkStatusChange() {},
		};
		const module = { exports: {} };
		((wx, uni, WebSocket, addEventListener, URL, module) => { %s })(wx, undefined, undefined, undefined, undefined, module);
		const ws = module.exports.connect({ url: 'ws://%s/', token: %q }), next = (event) => new Promise((done) => { const off = ws.on(event, (...a) => { off(); done(a); }); });
		const said = [];
		await next('open');
		said.push((await ws.call('index.index.index')).info);
		show(); // the heartbeat is answered, so nothing happens
		said.push((await ws.call('index.index.index')).info);
		tasks[0].frozen = true;
		const lost = next('close'), back = next('open');
		show();
		said.push((await lost)[0]);
		await back;
		said.push((await ws.call('index.index.index')).info, tasks.length);
		const closed = next('close');
		ws.close();
		said.push((await closed)[0], show);
		return JSON.stringify(said);
	})()`, source, s.outside, s.token("wechatUser", "m1"))
	run(t, page, chromedp.Navigate("http://"+s.outside+"/static/user.html"))
	said, err := chromedp.Run(page, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if want := `["执行完成","执行完成",1006,"执行完成",2,1000,null]`; err != nil || said != want {
		t.Fatalf("%v: got %s, want %s", err, said, want)
	}
}
