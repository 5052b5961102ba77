package inbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"wsframe/library/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 2 * time.Minute // only a fault needs so long

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// outage is a Redis that does not answer while it is on. It counts the commands.
type outage struct {
	on       atomic.Bool
	commands atomic.Int64
}

var errGone = errors.New("redis is gone")

func (o *outage) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (o *outage) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		o.commands.Add(1)
		if o.on.Load() {
			return errGone
		}
		return next(ctx, cmd)
	}
}

func (o *outage) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		o.commands.Add(1)
		if o.on.Load() {
			return errGone
		}
		return next(ctx, cmds)
	}
}

// process is a Box and the answers that it has received.
type process struct {
	*Box
	*outage
	client redis.UniversalClient

	mu  sync.Mutex
	got []string
}

func (p *process) receive(body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, string(body))
}

// received returns the answers, each once.
func (p *process) received() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Clone(p.got)
	slices.Sort(list)
	return slices.Compact(list)
}

func start(t *testing.T, size int) []*process {
	t.Helper()
	e, err := cache.StartEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	var list []*process
	for range size {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		client, err := cache.Open(ctx, cache.Options{Addrs: []string{e.Addr()}, Password: e.Password()})
		if err != nil {
			t.Fatal(err)
		}
		p := &process{outage: &outage{}, client: client}
		client.AddHook(p.outage)
		p.Box = New(Config{Client: client, Prefix: "p:", Timeout: patience, Log: zap.NewNop()})
		p.block = 10 * time.Millisecond
		t.Cleanup(func() {
			p.Close(context.Background())
			_ = client.Close()
		})
		list = append(list, p)
	}
	return list
}

// Each process gets the answers to its questions, and reads no others.
func TestAnswers(t *testing.T) {
	list := start(t, 3)
	var want []string
	for _, p := range list {
		defer p.Expect(p.receive)()
	}
	for i := range 1000 {
		for _, to := range list {
			text := fmt.Sprintf("%04d to %s", i, to.Name())
			if err := list[i%3].Send(to.Name(), []byte(text)); err != nil {
				t.Fatal(err)
			}
			if to == list[0] {
				want = append(want, text)
			}
		}
	}
	eventually(t, "the answers", func() bool { return len(list[0].received()) >= len(want) })
	if got := list[0].received(); !slices.Equal(got, want) {
		t.Errorf("%d answers: %.200q", len(got), got)
	}
	eventually(t, "an empty stream", func() bool {
		n, err := list[1].client.XLen(t.Context(), "p:WEBSOCKET_INBOX:"+list[0].Name()).Result()
		return n == 0 && err == nil
	})
}

// An answer that came before its question was open here, as after a lost reply, is read with the
// next question.
func TestAnswerBeforeReader(t *testing.T) {
	list := start(t, 2)
	if err := list[1].Send(list[0].Name(), []byte("early")); err != nil {
		t.Fatal(err)
	}
	defer list[0].Expect(list[0].receive)()
	eventually(t, "the answer", func() bool { return len(list[0].received()) == 1 })
}

// Answers that Redis did not take, or did not give, come once it answers.
func TestOutage(t *testing.T) {
	list := start(t, 2)
	defer list[0].Expect(list[0].receive)()
	for _, p := range list {
		p.on.Store(true)
	}
	for i := range 500 {
		if err := list[1].Send(list[0].Name(), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range list {
		seen := p.commands.Load()
		eventually(t, "tries", func() bool { return p.commands.Load() > seen+2 })
		p.on.Store(false)
	}
	eventually(t, "the answers", func() bool { return len(list[0].received()) == 500 })
}

// Without questions and answers a Box has no goroutine and sends no command.
func TestAtRest(t *testing.T) {
	list := start(t, 2)
	stop := list[0].Expect(list[0].receive)
	if err := list[1].Send(list[0].Name(), []byte("a")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the answer", func() bool { return len(list[0].received()) == 1 })
	stop()
	for _, p := range list {
		eventually(t, "the end of its goroutines", func() bool {
			p.Box.mu.Lock()
			defer p.Box.mu.Unlock()
			return !p.reading && p.writing == nil
		})
	}
	ttl, err := list[1].client.PTTL(t.Context(), "p:WEBSOCKET_INBOX:"+list[0].Name()).Result()
	if err != nil || ttl > keepTime {
		t.Error("the stream stays:", ttl, err)
	}
}

// Answers that nobody waits for any more are dropped, and too many are refused.
func TestBounds(t *testing.T) {
	b := New(Config{Timeout: time.Second})
	b.writing = make(chan struct{}) // none runs
	b.waiting = []letter{{till: time.Now().Add(-time.Second)}, {body: []byte("b"), till: time.Now().Add(patience)}}
	b.bytes = 1
	if list := b.next(); len(list) != 1 || string(list[0].body) != "b" {
		t.Error(list)
	}
	if b.Send("x", make([]byte, maxBytes)) != ErrFull {
		t.Error("too many bytes are taken")
	}
	for range maxWaiting - 1 {
		if err := b.Send("x", nil); err != nil {
			t.Fatal(err)
		}
	}
	if b.Send("x", nil) != ErrFull {
		t.Error("too many answers are taken")
	}
	b.drop(1)
	if b.bytes != 0 {
		t.Error("bytes", b.bytes)
	}
}

// Close sends what waits, and removes the stream. Then nothing is taken.
func TestClose(t *testing.T) {
	list := start(t, 2)
	defer list[0].Expect(list[0].receive)()
	if err := list[1].Send(list[0].Name(), []byte("a")); err != nil {
		t.Fatal(err)
	}
	list[1].Close(t.Context())
	eventually(t, "the last answer", func() bool { return len(list[0].received()) == 1 })
	if list[1].Send(list[0].Name(), nil) != ErrFull {
		t.Error("a closed one takes answers")
	}
	list[0].Close(t.Context())
	if n, err := list[1].client.Exists(t.Context(), "p:WEBSOCKET_INBOX:"+list[0].Name()).Result(); n != 0 || err != nil {
		t.Error(n, err)
	}
}
