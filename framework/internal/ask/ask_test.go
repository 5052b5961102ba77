package ask_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/link"
)

// cluster is a set of nodes that receive each message at once, except for the mute ones.
type cluster struct {
	list []*node
	mute map[string]bool
}

type node struct {
	*ask.Nodes
	id    string
	in    *cluster
	conns map[int64]bool
	phase link.Phase

	quiet bool // no message is in transit

	mu   sync.Mutex
	held []func() // callbacks of After
	sent []string // questions and answers that this node has sent

	receive func(body []byte) // of its inbox
}

func (n *node) Phase() link.Phase { return n.phase }

func (n *node) Cursor() (string, bus.Cursor) { return n.id, bus.Cursor{"x"} }

func (n *node) Send(m *bus.Message) error {
	n.mu.Lock()
	n.sent = append(n.sent, string(m.Body))
	n.mu.Unlock()
	for _, to := range n.in.list {
		if !n.in.mute[to.id] {
			to.Questioned(m)
		}
	}
	return nil
}

// box is a node's ask.Inbox. Answers arrive at once.
type box struct{ *node }

func (b box) Name() string { return "inbox of " + b.id }

func (b box) Expect(receive func(body []byte)) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.receive = receive
	return func() {}
}

func (b box) Close(context.Context) {}

func (b box) Send(to string, body []byte) error {
	b.mu.Lock()
	b.sent = append(b.sent, string(body))
	b.mu.Unlock()
	for _, n := range b.in.list {
		if to == (box{n}).Name() && !b.in.mute[n.id] {
			n.mu.Lock()
			receive := n.receive
			n.mu.Unlock()
			receive(body)
		}
	}
	return nil
}

func (n *node) After(_ string, _ bus.Cursor, limit time.Duration, f func()) {
	if n.quiet {
		f()
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held = append(n.held, f)
	time.AfterFunc(limit, n.arrive)
}

func (n *node) AfterOwn(limit time.Duration, f func()) {
	token, m := n.Cursor()
	n.After(token, m, limit, f)
}

// arrive delivers all messages in transit.
func (n *node) arrive() {
	n.mu.Lock()
	list := n.held
	n.held = nil
	n.mu.Unlock()
	for _, f := range list {
		f()
	}
}

func (n *node) Living(context.Context) (ids []string, err error) {
	for _, one := range n.in.list {
		ids = append(ids, one.id)
	}
	return ids, nil
}

func (n *node) Recent(time.Duration) ([]string, bool) { return nil, false }
func (n *node) Heard(string)                          {}

var (
	errFull = errors.New("it is full")

	where = ask.Op[struct{}, string]{Name: "where"}
	put   = ask.Op[putQuestion, struct{}]{Name: "put", Kind: ask.Changes}
	count = ask.Op[struct{}, struct{}]{Name: "count"}
	any1  = ask.Op[struct{}, struct{}]{Name: "any", First: true}
	close = ask.Op[putQuestion, struct{}]{Name: "close", Kind: ask.Follows}
)

type putQuestion struct {
	Text string `json:"t,omitempty"`
}

type none = struct{}

func newCluster(size int) *cluster {
	c := &cluster{mute: map[string]bool{}}
	for i := range size {
		n := &node{id: fmt.Sprint("n", i), in: c, conns: map[int64]bool{}}
		n.Nodes = ask.New(ask.Config{
			Node: n.id, Timeout: time.Second, Link: n, Inbox: box{n}, Members: func() ask.Members { return n },
			Here: func(fd int64) bool { return n.conns[fd] }, Frozen: func() bool { return false },
			Errors: map[string]error{"full": errFull}, Protect: func(_ string, f func()) { f() }, Log: zap.NewNop(),
		})
		ask.Handle(n.Nodes, where, func(fd int64, _ none) ask.Answer[string] { return ask.Answer[string]{Found: n.conns[fd], Value: n.id} })
		ask.Handle(n.Nodes, put, func(fd int64, q putQuestion) ask.Answer[none] {
			a := ask.Answer[none]{Found: n.conns[fd]}
			if a.Found && len(q.Text) > 3 {
				a.Err = fmt.Errorf("%s: %w", n.id, errFull)
			}
			return a
		})
		ask.Handle(n.Nodes, count, func(int64, none) ask.Answer[none] { return ask.Answer[none]{Count: len(n.conns)} })
		ask.Handle(n.Nodes, any1, func(int64, none) ask.Answer[none] { return ask.Answer[none]{Found: len(n.conns) > 0} })
		ask.HandleAfter(n.Nodes, close, func(_ int64, q putQuestion, t ask.Turn[none]) {
			t.After(n.CountTime(), func() { t.Answer(func() ask.Answer[none] { return ask.Answer[none]{Count: len(n.conns)} }) })
		})
		c.list = append(c.list, n)
	}
	return c
}

func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ctx := newCluster(3), t.Context()
		me := c.list[0]
		c.list[2].conns[7] = true
		if id, err := ask.One(ctx, me.Nodes, where, 7, none{}); id != "n2" || err != nil {
			t.Error(id, err)
		}
		if _, err := ask.One(ctx, me.Nodes, where, 8, none{}); !errors.Is(err, ask.ErrNoConnection) {
			t.Error(err)
		}
		if _, err := ask.One(ctx, me.Nodes, put, 7, putQuestion{"abc"}); err != nil {
			t.Error(err)
		}
		// The asking node can distinguish the error of another node.
		if _, err := ask.One(ctx, me.Nodes, put, 7, putQuestion{"abcd"}); !errors.Is(err, errFull) || err.Error() != "n2: it is full" {
			t.Error(err)
		}
		if n, err := ask.Sum(ctx, me.Nodes, count, "", none{}); n != 1 || err != nil {
			t.Error(n, err)
		}
		if found, err := ask.Any(ctx, me.Nodes, any1, "", none{}); !found || err != nil {
			t.Error(found, err)
		}
		if n, err := ask.Sum(ctx, me.Nodes, close, "", putQuestion{}); n != 1 || err != nil {
			t.Error(n, err)
		}
		time.Sleep(time.Second) // until the others have finished
		synctest.Wait()
		// A node that does not answer makes the result partial.
		c.mute["n1"] = true
		begun := time.Now()
		if n, err := ask.Sum(ctx, me.Nodes, count, "", none{}); n != 1 || !errors.Is(err, ask.ErrPartial) || time.Since(begun) != time.Second {
			t.Error(n, err, time.Since(begun))
		}
		// The answer of the node that has the connection is enough.
		if id, err := ask.One(ctx, me.Nodes, where, 7, none{}); id != "n2" || err != nil {
			t.Error(id, err)
		}
	})
}

// A question's JSON contains the common fields and those of its own type.
func TestQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(2)
		_, _ = ask.One(t.Context(), c.list[0].Nodes, put, 7, putQuestion{`a"}{`})
		_, _ = ask.Sum(t.Context(), c.list[0].Nodes, close, "", putQuestion{})
		for i, want := range []string{`"n":"n0","to":"inbox of n0","o":"put","f":7,"t":"a\"}{"}`, `"n":"n0","to":"inbox of n0","o":"close","m":["x"]}`} {
			var q ask.Query
			text := c.list[0].sent[i]
			if !strings.HasSuffix(text, want) || !strings.HasPrefix(text, `{"i":`) {
				t.Errorf("%s, want …%s", text, want)
			}
			if err := json.Unmarshal([]byte(text), &q); err != nil || q.Node != "n0" {
				t.Error(q, err)
			}
		}
	})
}

// next is the next worker, asked without a socket between the two.
type next struct{ *node }

func (n next) Ask(_ context.Context, i ask.Inquiry) (f ask.Findings, err error) {
	b, err := json.Marshal(i) // as the socket would
	if err == nil {
		err = json.Unmarshal(b, &i)
	}
	if err != nil {
		return f, err
	}
	var background sync.WaitGroup
	done := make(chan ask.Findings, 1)
	n.Inquire(&i, &background, func(f ask.Findings) { done <- f })
	background.Wait()
	return <-done, nil
}

// After a hand-over the next worker answers for this node, and asks the others.
func TestHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ctx := newCluster(2), t.Context()
		old := c.list[0]
		successor := newCluster(1).list[0]
		successor.in, successor.quiet, c.list[1].quiet = c, true, true
		c.list[0] = successor
		successor.conns[7], c.list[1].conns[8] = true, true
		old.HandOver(next{successor})
		if err := ask.Forward(ctx, old.Nodes, put, 7, putQuestion{"x"}); !errors.Is(err, ask.ErrGone) {
			t.Error("forwarded before the hand-over:", err)
		}
		old.phase = link.HandedOver
		if err := ask.Forward(ctx, old.Nodes, put, 7, putQuestion{"x"}); err != nil {
			t.Error(err)
		}
		if err := ask.Forward(ctx, old.Nodes, put, 7, putQuestion{"xxxx"}); !errors.Is(err, errFull) {
			t.Error(err)
		}
		if err := ask.Forward(ctx, old.Nodes, put, 9, putQuestion{"x"}); !errors.Is(err, ask.ErrGone) {
			t.Error(err)
		}
		if n, ok := ask.CountThere(ctx, old.Nodes, count, none{}); n != 1 || !ok {
			t.Error(n, ok)
		}
		if n, err := ask.Sum(ctx, old.Nodes, close, "", putQuestion{}); n != 2 || err != nil {
			t.Error(n, err)
		}
	})
}

// A question that was open when the connections moved gets the answers of other nodes, and that of
// the next worker for this node.
func TestOpenAtHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(2)
		old, other := c.list[0], c.list[1]
		successor := newCluster(1).list[0]
		successor.quiet = true
		successor.conns[7], other.conns[8] = true, true
		counted := make(chan int)
		go func() {
			n, err := ask.Sum(t.Context(), old.Nodes, close, "", putQuestion{})
			if err != nil {
				t.Error(err)
			}
			counted <- n
		}()
		synctest.Wait() // for earlier messages
		old.HandOver(next{successor})
		old.phase = link.HandedOver
		old.arrive()
		other.arrive()
		if n := <-counted; n != 2 {
			t.Error(n)
		}
	})
}

// Messages from the bus that cannot be read, or that a newer version sent, do no harm.
func TestUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(2)
		_, _ = ask.Sum(t.Context(), c.list[0].Nodes, count, "", none{})
		c.list[0].sent = nil
		for _, body := range []string{"", "{", `{"i":1,"n":"n1","o":"newer"}`, `{"i":2,"n":"n1","o":"put","t":5}`, `{"i":3,"n":"n1","o":"put","f":"7"}`} {
			c.list[0].Questioned(&bus.Message{Body: []byte(body)})
			c.list[0].receive([]byte(body))
		}
		if sent := c.list[0].sent; len(sent) != 2 || !slices.ContainsFunc(sent, func(s string) bool { return strings.Contains(s, "unknown question") }) {
			t.Error(sent)
		}
	})
}
