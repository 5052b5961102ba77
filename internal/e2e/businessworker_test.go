//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// workersOf starts a server whose gateway has BusinessWorkers.
func workersOf(t *testing.T, env ...string) *estate {
	t.Helper()
	return estateOf(t, append([]string{"WSFRAME_APP_GATEWAY_WORKERS=true", "WSFRAME_APP_GATEWAY_GREETING="}, env...)...)
}

// businessWorker is a running BusinessWorker of PHP.
type businessWorker struct {
	cmd *exec.Cmd
	out *bufio.Scanner
}

// worker starts a BusinessWorker and waits until it has connected.
func (e *estate) worker(key string) *businessWorker {
	e.t.Helper()
	cmd := exec.Command("php", "testdata/businessworker.php", e.register, "", key)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	w := &businessWorker{cmd, bufio.NewScanner(out)}
	e.t.Cleanup(w.kill)
	if !w.out.Scan() || w.out.Text() != "connected" {
		e.t.Fatalf("the BusinessWorker said %q", w.out.Text())
	}
	return w
}

// kill kills the worker, which may have been killed.
func (w *businessWorker) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// visit opens a page, which sends a cookie.
func (e *estate) visit(query string) *phpPage {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+e.gateway+"/chat"+query, &websocket.DialOptions{HTTPHeader: http.Header{"Cookie": {"a=1; b=%E4%B8%AD"}}})
	if err != nil {
		e.t.Fatal(err)
	}
	c.SetReadLimit(1 << 20)
	e.t.Cleanup(func() { _ = c.CloseNow() })
	return &phpPage{Conn: c, t: e.t.(*testing.T)}
}

func (p *phpPage) say(text string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := p.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

const openedPlain = `opened [[],{"a":"1","b":"\u4e2d"},"/chat","127.0.0.1"]`

// A BusinessWorker serves pages: it learns of them with what their handshake told, keeps a session
// for each, and joins them in groups. When it is killed, the events wait for the next.
func TestBusinessWorker(t *testing.T) {
	t.Parallel()
	e := workersOf(t)
	worker := e.worker("Chat:0")
	a := e.visit("?room=7&x[]=1&x[]=%20")
	a.want("connect null", `opened [{"room":"7","x":["1"," "]},{"a":"1","b":"\u4e2d"},"/chat?room=7&x[]=1&x[]=%20","127.0.0.1"]`)
	b := e.visit("")
	b.want("connect null", openedPlain)
	a.say("count")
	a.say("count")
	a.want("n 1", "n 2")
	a.say("join:hall")
	a.want("joined hall")
	b.say("group:hall:before b joined")
	b.say("join:hall")
	b.want("joined hall")
	a.want("before b joined")
	b.say("group:hall:你好")
	a.want("你好")
	b.want("你好")

	worker.kill()
	until(t, "the worker's end is known", func() bool { return len(e.status().Gateway.Workers) == 0 })
	a.say("count")
	c := e.visit("")
	e.worker("Chat:0")
	a.want("n 3")
	c.want("connect null", openedPlain)

	b.say("kick")
	b.want("bye", "close 1000")
	closed := func(pages ...*phpPage) {
		t.Helper()
		for _, p := range pages {
			if got := p.next(); !strings.HasPrefix(got, "closed 7f000001") || !strings.HasSuffix(got, ` {"n":0}`) {
				t.Errorf("after the end of a page: %q", got)
			}
		}
	}
	closed(a, c)
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	closed(a)
}

// A reload moves pages, their sessions, the worker's connection and the events that wait.
func TestReloadWithBusinessWorker(t *testing.T) {
	t.Parallel()
	e := workersOf(t, "WSFRAME_APP_LIMITS_MESSAGE_RATE=0")
	worker := e.worker("Chat:0")
	const pages, reloads = 5, 3
	var list []*phpPage
	for range pages {
		p := e.visit("")
		p.want("connect null", openedPlain)
		list = append(list, p)
	}
	stop := make(chan struct{})
	var counting sync.WaitGroup
	var counts [pages]int
	for i, p := range list {
		counting.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				counts[i]++
				p.say("count")
				p.want(fmt.Sprint("n ", counts[i]))
			}
		})
	}
	for range reloads {
		e.ok("-s", "reload")
	}
	close(stop)
	counting.Wait()
	if workers := e.status().Gateway.Workers; len(workers) != 1 || workers[0].Clients != pages {
		t.Errorf("workers after the reloads: %+v", workers)
	}

	worker.kill()
	until(t, "the worker's end is known", func() bool { return len(e.status().Gateway.Workers) == 0 })
	for _, p := range list {
		p.say("count")
	}
	e.ok("-s", "reload")
	e.worker("Chat:0")
	for i, p := range list {
		p.want(fmt.Sprint("n ", counts[i]+1))
	}
}

// A BusinessWorker that reads nothing for a time holds up its own clients, and no other.
func TestSlowBusinessWorker(t *testing.T) {
	t.Parallel()
	e := workersOf(t, "WSFRAME_APP_LIMITS_MESSAGE_RATE=0")
	hold := filepath.Join(t.TempDir(), "hold")
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e.worker("Chat:0")
	slow := e.visit("")
	slow.want("connect null", openedPlain)
	e.worker("Chat:1")
	other := e.visit("")
	other.want("connect null", openedPlain)
	other.say("key")
	other.want("Chat:1")
	slow.say("hold:" + hold)
	slow.want("holds")
	const messages, size = 400, 60_000 // more than may wait for a worker
	sent := make(chan error)
	go func() {
		text := []byte("bytes:" + strings.Repeat("x", size-len("bytes:")))
		for range messages {
			if err := slow.Write(context.Background(), websocket.MessageText, text); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	until(t, "enough waits for the slow worker", func() bool {
		w := e.status().Gateway.Workers[0]
		return w.Key == "127.0.0.1:Chat:0" && w.WaitingBytes > 10_000_000
	})
	other.say("count")
	other.want("n 1")
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	slow.say("sum")
	slow.want(fmt.Sprint("bytes ", messages*size))
}

// Without a BusinessWorker, a client is closed after gateway.worker_wait, and later ones are refused.
func TestNoBusinessWorker(t *testing.T) {
	t.Parallel()
	e := workersOf(t, "WSFRAME_APP_GATEWAY_WORKER_WAIT=1s")
	until(t, "handshakes are refused", func() bool {
		c, response, err := websocket.Dial(t.Context(), "ws://"+e.gateway, nil)
		if err == nil {
			p := &phpPage{Conn: c, t: t}
			p.want("close 1013")
			return false
		}
		return response != nil && response.StatusCode == http.StatusServiceUnavailable
	})
	e.worker("Chat:0")
	p := e.visit("")
	p.want("connect null", openedPlain)
}
