//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// streamFrame is a frame of a stream, or the reply that announces it.
type streamFrame struct {
	Event string `json:"event"`
	Param struct {
		Stream, Text, Reason string
		Part                 int
	} `json:"param"`
}

// story is the text of the stream desk.clerk.tell.
func story(parts int) string {
	var b strings.Builder
	for i := range parts {
		fmt.Fprintf(&b, "part %d 第%d部分；", i, i)
	}
	return b.String()
}

// readStream reads a stream from its reply to its end.
func readStream(p *peer, parts *atomic.Int64) (text string, last int, reason string, err error) {
	id := ""
	for reason == "" {
		raw, err := p.receive()
		if err != nil {
			return text, last, reason, err
		}
		var f streamFrame
		if err := json.Unmarshal([]byte(raw), &f); err != nil {
			return text, last, reason, fmt.Errorf("%s: %w", raw, err)
		}
		if id == "" {
			if id = f.Param.Stream; id == "" {
				return text, last, reason, fmt.Errorf("no stream in %s", raw)
			}
			continue
		}
		if f.Param.Stream != id || f.Event == "sysStreamPart" && f.Param.Part <= last {
			return text, last, reason, fmt.Errorf("%s after part %d", raw, last)
		}
		parts.Add(int64(f.Param.Part - last))
		text, last, reason = text+f.Param.Text, f.Param.Part, f.Param.Reason
	}
	return text, last, reason, nil
}

// TestStreamsOverReloads streams 2,000 parts to each of 200 clients through three reloads. The
// producers stay in the first worker, which lives on, and the texts arrive byte for byte.
func TestStreamsOverReloads(t *testing.T) {
	const clients, parts = 200, 2000
	path := filepath.Join(t.TempDir(), "console")
	buildDesk(t, path)
	s := prepare(t)
	s.serve(path)
	first, token := s.status().WorkerPID, s.token("wechatUser", "1")
	alive := func() bool { return syscall.Kill(first, 0) == nil }
	whole := story(parts)
	var wg sync.WaitGroup
	var arrived atomic.Int64
	for i := range clients {
		p := dial(t, s.outside, token)
		p.send(fmt.Sprintf(`{"method":"desk.clerk.tell","parts":%d,"id":1}`, parts))
		wg.Go(func() {
			text, last, reason, err := readStream(p, &arrived)
			if err != nil || text != whole || last != parts || reason != "done" {
				t.Errorf("client %d: %d of %d bytes, part %d, %q: %v", i, len(text), len(whole), last, reason, err)
			}
		})
	}
	for round := range 3 {
		until(t, "parts arrive", func() bool { return arrived.Load() >= int64(clients*parts*(2*round+1)/8) })
		out := s.ok("reload")
		if !strings.Contains(out, "streams go on in the old worker") == (round == 0) || !strings.Contains(out, fmt.Sprint(clients, " connections moved")) {
			t.Errorf("reload %d: %s", round+1, out)
		}
	}
	if done := arrived.Load() == clients*parts; !done && !alive() {
		t.Error("the first worker has ended before its streams")
	}
	wg.Wait()
	until(t, "the first worker has ended", func() bool { return !alive() })
}

// TestStreamDrain ends streams that outlive what an old worker may: limits.stream_drain, or four
// other old workers.
func TestStreamDrain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "console")
	buildDesk(t, path)
	for name, env := range map[string]string{"time": "WSFRAME_APP_LIMITS_STREAM_DRAIN=1s", "workers": "WSFRAME_APP_LIMITS_STREAM_DRAIN=1h"} {
		t.Run(name, func(t *testing.T) {
			s := prepare(t, env)
			s.serve(path)
			token := s.token("wechatUser", "1")
			var parts atomic.Int64
			ends := make(chan string, 8)
			tell := func(name string) {
				p := dial(t, s.outside, token)
				p.send(`{"method":"desk.clerk.tell","parts":1000000,"id":1}`)
				before := parts.Load()
				go func() {
					_, _, reason, err := readStream(p, &parts)
					ends <- fmt.Sprint(name, " ", reason, err)
				}()
				until(t, "parts arrive", func() bool { return parts.Load() > before })
			}
			tell("first")
			s.ok("reload")
			if name == "workers" {
				for i := range 4 {
					tell(fmt.Sprint("worker ", i+2))
					s.ok("reload")
				}
			}
			select {
			case end := <-ends:
				if end != "first drained<nil>" {
					t.Error(end)
				}
			case <-time.After(wait):
				t.Error("the first stream does not end")
			}
			// A stop does not wait for the others.
			s.ok("stop")
		})
	}
}
