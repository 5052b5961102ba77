//go:build unix

package framework_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// assistant answers in parts.
type assistant struct {
	next  []chan struct{} // closed when each hundred parts may be written
	cause chan error
}

func (a *assistant) Ask(c *framework.Ctx) (*framework.StreamOut, error) {
	return framework.Stream(c, func(w *framework.StreamWriter) error {
		for i := range 100 * len(a.next) {
			if i%100 == 0 {
				<-a.next[i/100]
			}
			if _, err := fmt.Fprintf(w, "%s:%d；", c.Auth.ID, i); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *assistant) Wait(c *framework.Ctx) (*framework.StreamOut, error) {
	return framework.Stream(c, func(w *framework.StreamWriter) error {
		fmt.Fprint(w, "thinking")
		<-w.Done()
		a.cause <- context.Cause(w)
		return w.Err()
	})
}

func (a *assistant) mount(framework.Deps) ([]framework.Controller, error) {
	return []framework.Controller{framework.Mount("ai", a)}, nil
}

func (a *assistant) whole(id string) string {
	var b strings.Builder
	for i := range 100 * len(a.next) {
		fmt.Fprintf(&b, "%s:%d；", id, i)
	}
	return b.String()
}

func newAssistant(hundreds int) *assistant {
	a := &assistant{next: make([]chan struct{}, hundreds), cause: make(chan error, 8)}
	for i := range a.next {
		a.next[i] = make(chan struct{})
	}
	return a
}

// streamed reads a stream to its end, or to a part if that is not 0.
func streamed(t *testing.T, c *frameworktest.Client, id string, upTo int) (text string, part int, reason string) {
	t.Helper()
	for reason == "" && (upTo == 0 || part < upTo) {
		var p struct {
			Stream, Text, Reason string
			Part                 int
		}
		text1 := c.Receive()
		var f struct {
			Event string          `json:"event"`
			Param json.RawMessage `json:"param"`
		}
		if err := json.Unmarshal([]byte(text1), &f); err != nil || !strings.HasPrefix(f.Event, "sysStream") {
			t.Fatalf("%s, %v", text1, err)
		}
		if err := json.Unmarshal(f.Param, &p); err != nil || p.Stream != id || p.Part <= part && p.Reason == "" {
			t.Fatalf("%s after part %d of %s: %v", text1, part, id, err)
		}
		text, part, reason = text+p.Text, p.Part, p.Reason
	}
	return text, part, reason
}

func streamOf(f *frameworktest.Frame) string {
	var out framework.StreamOut
	f.Want(200, f.Event).Into(&out)
	return out.Stream
}

func TestStream(t *testing.T) {
	a := newAssistant(2)
	h := frameworktest.New(t, a.mount, frameworktest.Quiet())
	c := h.Dial(user("1"))
	id := streamOf(c.Call("ai.ask", nil).Want(200, "aiAskSuccess"))
	close(a.next[0])
	text, part, _ := streamed(t, c, id, 50)
	c.Vanish()
	close(a.next[1])
	again := h.Dial(user("1"))
	again.Send(fmt.Sprintf(`{"method":"sys.resume","stream":%q,"after":%d}`, id, part))
	reply := func(f string) bool { return strings.Contains(f, "sysResumeSuccess") }
	rest, end, reason := "", 0, ""
	for seen := false; reason == ""; {
		f := again.Receive()
		if reply(f) {
			seen = true
			continue
		}
		var p struct {
			Param struct {
				Text, Reason string
				Part         int
			}
		}
		if err := json.Unmarshal([]byte(f), &p); err != nil {
			t.Fatal(err)
		}
		rest, end, reason = rest+p.Param.Text, p.Param.Part, p.Param.Reason
		_ = seen
	}
	if text+rest != a.whole("1") || end != 200 || reason != "done" {
		t.Errorf("%d and %d bytes, part %d, %s", len(text), len(rest), end, reason)
	}
	again.Call("sys.resume", map[string]any{"stream": "other"}).Want(404, "streamNotFound")

	id = streamOf(again.Call("ai.wait", nil))
	streamed(t, again, id, 1)
	other := h.Dial(user("2"))
	other.Call("sys.cancel", map[string]any{"stream": id}).Want(404, "streamNotFound")
	h.Dial(user("1")).Call("sys.cancel", map[string]any{"stream": id}).Want(200, "sysCancelSuccess")
	if cause := <-a.cause; cause != framework.ErrStreamCancelled {
		t.Error(cause)
	}
	if _, part, reason := streamed(t, again, id, 0); part != 1 || reason != "cancelled" {
		t.Error(part, reason)
	}
	for range 8 {
		streamOf(other.Call("ai.wait", nil))
	}
	other.Call("ai.wait", nil).Want(429, "tooManyStreams")
}

// Streams go on over transfers, byte for byte, while their producers stay.
func TestStreamAcrossTransfers(t *testing.T) {
	onWorkers(t, func(t *testing.T, alone bool) {
		a := newAssistant(4)
		old, next := frameworktest.NewWorkers(t, alone, a.mount, frameworktest.Quiet())
		h := [2]*frameworktest.Harness{old, next}
		const n = 20
		var clients []*frameworktest.Client
		var ids []string
		for i := range n {
			c := old.Dial(user(fmt.Sprint(i)))
			clients, ids = append(clients, c), append(ids, streamOf(c.Call("ai.ask", nil)))
		}
		for i, gate := range a.next {
			close(gate)
			if i < 3 {
				gave, _ := move(t, h[i%2].App, h[(i+1)%2].App)
				if i == 0 && gave.Streams == 0 {
					t.Error("no stream goes on in the old worker")
				}
			}
		}
		for i, c := range clients {
			if text, part, reason := streamed(t, c, ids[i], 0); text != a.whole(fmt.Sprint(i)) || part != 400 || reason != "done" {
				t.Errorf("client %d: %d bytes, part %d, %s", i, len(text), part, reason)
			}
		}
	})
}

// A stream is found from another node, and sent there.
func TestStreamOfAnotherNode(t *testing.T) {
	a := newAssistant(1)
	nodes := frameworktest.NewCluster(t, 2, a.mount, frameworktest.Quiet())
	c := nodes[0].Dial(user("1"))
	id := streamOf(c.Call("ai.ask", nil))
	c.Vanish()
	d := nodes[1].Dial(user("1"))
	d.Call("sys.resume", map[string]any{"stream": id}).Want(200, "sysResumeSuccess")
	close(a.next[0])
	if text, part, reason := streamed(t, d, id, 0); text != a.whole("1") || part != 100 || reason != "done" {
		t.Error(text, part, reason)
	}
	id = streamOf(d.Call("ai.wait", nil))
	nodes[0].Dial(user("1")).Call("sys.cancel", map[string]any{"stream": id}).Want(200, "sysCancelSuccess")
	<-a.cause
}
