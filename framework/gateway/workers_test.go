package gateway

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// fakeWorkers notes the workers that come and go, and greets each with the bytes of greeting.
type fakeWorkers struct {
	greeting string

	mu    sync.Mutex
	notes []string
	conns []WorkerConn
}

func (ws *fakeWorkers) note(text string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.notes = append(ws.notes, text)
}

func (ws *fakeWorkers) Connect(key string, _ netip.Addr, c WorkerConn) WorkerEvents {
	ws.note("connect " + key)
	ws.conns = append(ws.conns, c)
	c.OnWritten(func(waiting int) {
		if waiting == 0 {
			ws.note("written")
		}
	})
	if n := c.Send([]byte(ws.greeting)); n != len(ws.greeting) {
		ws.note("waiting")
	}
	return fakeWorkerEvents{ws, key}
}

type fakeWorkerEvents struct {
	ws  *fakeWorkers
	key string
}

func (e fakeWorkerEvents) Gone() { e.ws.note("gone " + e.key) }

// The inner port tells of each worker once, whatever it introduces itself as later, and of its end.
func TestInnerWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws := &fakeWorkers{greeting: strings.Repeat("x", maxWaiting+1)}
		in := NewInner(InnerConfig{Commands: &Commands{Backend: newFake(1)}, Workers: ws, Secret: "s"})
		l, stop := listen(t, in.Run)
		php := l.dial()
		php.put(string(AppendFrame(nil, Frame{Command: cmdGatewayClientConnect, Body: []byte(`{"secret_key":"s"}`)})))
		stranger := l.dial()
		stranger.put(introduction200(`"B:9"`, `"x"`))
		worker := l.dial()
		worker.put(introduction200(`"B:0"`, `"s"`) + introduction200(`"B:1"`, `"s"`))
		if got, closed := worker.take(); got != ws.greeting || closed {
			t.Error("a worker got", len(got), "bytes, closed:", closed)
		}
		ws.conns[0].Close()
		if _, closed := worker.take(); !closed {
			t.Error("a worker is not closed")
		}
		if got := strings.Join(ws.notes, ", "); got != "connect B:0, written, gone B:0" {
			t.Error(got)
		}
		if n := ws.conns[0].Send([]byte("x")); n != 0 {
			t.Error(n, "bytes wait for a closed connection")
		}
		_, _ = php.Close(), stranger.Close()
		stop()
	})
}
