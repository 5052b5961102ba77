//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// A user types a message on the phone, the wall approves it, and it arrives on both. With WSFRAME_SCREENSHOT set, the pages
// are kept as the README's pictures.
func TestBrowser(t *testing.T) {
	s := start(t)
	links := regexp.MustCompile(`http://\S+/static/(?:wall|user)\.html#auth=\S+`).FindAllString(s.out.String(), -1)
	if len(links) != 2 {
		t.Fatalf("start printed the links %q", links)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("lang", "zh-CN"), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	defer cancel()
	wall, cancel := chromedp.NewContext(ctx)
	defer cancel()
	run := func(page context.Context, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(page, actions...); err != nil {
			t.Fatal(err)
		}
	}
	run(wall, chromedp.EmulateViewport(1600, 900), chromedp.Navigate(links[0]), chromedp.WaitVisible(`.state.open`))
	user, cancel := chromedp.NewContext(wall)
	defer cancel()
	run(user, chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile), chromedp.Navigate(links[1]), chromedp.WaitVisible(`.state.open`))

	say := func(page context.Context, text string) {
		t.Helper()
		run(page, chromedp.SendKeys(`#say`, text), chromedp.Click(`#send`))
	}
	say(wall, "欢迎来到现场！")
	run(user, chromedp.WaitVisible(`//article[contains(., "欢迎来到现场")]`))
	say(user, `<img src=x onerror="document.title='pwned'">大家好`)
	run(wall, chromedp.WaitVisible(`//aside//article[contains(., "大家好")]`))
	if before, err := chromedp.Run(user, chromedp.Evaluate[int](`document.querySelectorAll('article.mine').length`)); err != nil || before != 0 {
		t.Fatal("the message is shown before it is approved", err)
	}
	run(wall, chromedp.Click(`aside button.ok`), chromedp.WaitVisible(`//section//article[contains(., "大家好")]`))
	run(user, chromedp.WaitVisible(`//article[contains(@class, "mine") and contains(., "大家好")]`))
	say(user, "第一次用 wsframe，好快")
	run(wall, chromedp.WaitVisible(`//aside//article[contains(., "好快")]`))
	if title, err := chromedp.Run(user, chromedp.Title()); err != nil || title == "pwned" {
		t.Fatal("a message was read as HTML", err)
	}
	if os.Getenv("WSFRAME_SCREENSHOT") != "" {
		for name, page := range map[string]context.Context{"wall": wall, "user": user} {
			run(page, chromedp.Sleep(500*time.Millisecond)) // the entry's animation
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
