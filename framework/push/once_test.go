package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a Store of this process that can fail.
type memory struct {
	mu      sync.Mutex
	m       map[string][]byte
	ends    map[string]time.Time
	fails   bool  // claims
	full    bool  // there is no memory for claims
	lost    bool  // answers of claims, which are done all the same
	unsafe  bool  // nothing becomes durable
	broken  error // what Put and Remove end with
	durable int   // times
}

func newMemory() *memory { return &memory{m: map[string][]byte{}, ends: map[string]time.Time{}} }

var errStore = errors.New("store is away")

func (m *memory) put(key string, value []byte, age time.Duration) {
	m.m[key], m.ends[key] = bytes.Clone(value), time.Now().Add(age)
}

func (m *memory) Claim(_ context.Context, key string, value []byte, age time.Duration) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails {
		return nil, errStore
	}
	if m.full {
		return nil, ErrStoreFull
	}
	if there, ok := m.m[key]; ok && time.Now().Before(m.ends[key]) {
		return there, nil
	}
	m.put(key, value, age)
	if m.lost {
		return nil, errStore
	}
	return nil, nil
}

func (m *memory) Put(_ context.Context, key string, value []byte, age time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken == nil {
		m.put(key, value, age)
	}
	return m.broken
}

func (m *memory) Remove(_ context.Context, key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken == nil && bytes.Equal(m.m[key], value) {
		delete(m.m, key)
	}
	return m.broken
}

func (m *memory) Durable(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unsafe {
		return errStore
	}
	m.durable++
	return nil
}

func (m *memory) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// size returns the number of bytes that are kept.
func (m *memory) size() (n int) {
	m.set(func() {
		for key, value := range m.m {
			n += len(key) + len(value)
		}
	})
	return n
}

func TestOnce(t *testing.T) {
	h := serve(t, Config{})
	key := "Idempotency-Key: order-5"
	h.want(200, `{"result":{"connections":2}}`)(h.post("reach", `{"uid":"7","event":"e"}`, key))
	h.want(200, `{"result":{"connections":2}}`)(h.post("reach", `{"uid":"7","event":"e"}`, key))
	h.want(422, `"keyReused"`)(h.post("reach", `{"uid":"8","event":"e"}`, key))
	h.want(422, `"keyReused"`)(h.post("sendToUID", `{"uid":"7","event":"e"}`, key))
	if got := h.backend.said(); len(got) != 1 {
		t.Errorf("done %d times: %s", len(got), got)
	}
	// A request that was not done may be sent again.
	key = "Idempotency-Key: k2"
	h.want(400, `"badRequest"`)(h.post("kick", `{"fd":"1"}`, key))
	h.backend.fail = fail(CodeQueueFull, "full")
	h.want(503, `"queueFull"`)(h.post("kick", `{"fd":1}`, key))
	h.backend.fail = nil
	h.want(200, `{}`)(h.post("kick", `{"fd":1}`, key))
	// A request that may have been done is not done again.
	key = "Idempotency-Key: k3"
	h.backend.fail = context.DeadlineExceeded
	h.want(504, `"timeout"`)(h.post("kick", `{"fd":2}`, key))
	h.backend.fail = nil
	h.backend.said()
	h.want(504, `"timeout"`)(h.post("kick", `{"fd":2}`, key))
	if got := h.backend.said(); len(got) != 0 {
		t.Error(got)
	}
	h.want(400, "1 to 128 printable")(h.post("kick", `{"fd":2}`, "Idempotency-Key: a b"))
	h.store.fails = true
	h.want(503, `"unavailable"`)(h.post("kick", `{"fd":2}`, "Idempotency-Key: k4"))
	h.want(200, `"result"`)(h.post("counts", `{}`, "Idempotency-Key: k5")) // reads need no memory
	h.store.fails, h.store.full = false, true
	h.want(503, `"busy"`)(h.post("kick", `{"fd":2}`, "Idempotency-Key: k4"))
	h.store.full = false

	// Of many equal requests at the same time one is done, and the others get its response.
	h.backend.hold = make(chan struct{})
	h.backend.said()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			h.want(200, `{"result":{"members":2}}`)(h.post("dismissRoom", `{"room":"A"}`, "Idempotency-Key: k6"))
		})
	}
	time.AfterFunc(100*time.Millisecond, func() { close(h.backend.hold) })
	all.Wait()
	if got := h.backend.said(); len(got) != 1 {
		t.Errorf("done %d times", len(got))
	}
}

// asker makes one request with the key "k" again and again, and counts how often it is done.
type asker struct {
	*Server
	store *memory
	done  int
}

func newAsk(t *testing.T) *asker {
	a := &asker{store: newMemory()}
	a.Server = NewServer(Config{Backend: &recorder{}, Store: a.store})
	t.Cleanup(func() { _ = a.Shutdown(context.Background()) }) // it serves nowhere
	return a
}

func (a *asker) want(t *testing.T, want Code, done int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	k, e := newClaim(a.door.access.local, "k", "kick", []byte("{}"))
	if e != nil {
		t.Fatal(e)
	}
	_, e = a.once.do(ctx, k, func() (response, Code) { a.done++; return success(nil), "" })
	got := Code("")
	if e != nil {
		got = e.Code
	}
	if got != want || a.done != done {
		t.Errorf("got %q, done %d times; want %q, %d times", got, a.done, want, done)
	}
}

// A response that cannot be written is written when the store works again.
func TestOnceWritesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsk(t)
		a.store.broken = errStore
		a.want(t, "", 1)
		time.Sleep(2 * time.Second)
		a.store.set(func() { a.store.broken = nil })
		time.Sleep(writeLast + time.Second)
		a.want(t, "", 1)
		time.Sleep(9 * time.Minute)
		a.want(t, "", 1)
	})
}

// A request whose outcome is unknown is not done again before its key expires, and its sender gets
// that as an error.
func TestOnceOutcomeUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsk(t)
		a.store.broken = errStore
		a.want(t, "", 1)
		a.want(t, CodeInProgress, 1)
		for range 9 {
			time.Sleep(time.Minute)
			a.want(t, CodeOutcomeUnknown, 1)
		}
		time.Sleep(time.Minute)
		a.want(t, "", 2)
	})
}

// A claim whose outcome is unknown does not block the next try, once the store can be written.
func TestOnceClaimLost(t *testing.T) {
	for name, breaks := range map[string]func(*memory, bool){
		"no answer":   func(m *memory, on bool) { m.lost = on },
		"not durable": func(m *memory, on bool) { m.unsafe = on },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAsk(t)
				breaks(a.store, true)
				a.want(t, CodeUnavailable, 0)
				a.store.set(func() { breaks(a.store, false) })
				time.Sleep(time.Second)
				a.want(t, "", 1)
				if a.store.durable != 2 { // the claim and the answer
					t.Errorf("made durable %d times", a.store.durable)
				}
			})
		})
	}
}

// The store's client may ask twice: a claim that it finds may be its own.
func TestOnceClaimedTwice(t *testing.T) {
	a := newAsk(t)
	k, e := newClaim(a.door.access.local, "k", "kick", nil)
	if e != nil {
		t.Fatal(e)
	}
	for range 2 {
		if there, err := a.once.hold(t.Context(), k); there != nil || err != nil {
			t.Errorf("got %q, %v", there, err)
		}
	}
}

// The server's end does not wait long for a store that does not answer.
func TestRetriesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsk(t)
		a.store.broken = errStore
		a.want(t, "", 1)
		begun := time.Now()
		if err := a.Shutdown(t.Context()); err != nil || time.Since(begun) > retryStop {
			t.Error(err, time.Since(begun))
		}
		synctest.Wait()
	})
}

// Keys of reading requests cost nothing, and the bytes kept for a token's keys are bounded.
func TestKept(t *testing.T) {
	const reader, all = "Authorization: Bearer read-0123456789ab", "Authorization: Bearer all-00123456789ab"
	h := serve(t, Config{KeptBytes: 2048, Tokens: []Token{{"read-0123456789ab", []string{ScopeRead}}, {"all-00123456789ab", nil}}})
	key := func(i int) string { return fmt.Sprint("Idempotency-Key: k", i) }
	const reads, mixed = `{"calls":[{"method":"connections"},{"method":"counts"}]}`, `{"calls":[{"method":"connections"},{"method":"leaveAll","params":{"fd":1}}]}`
	for i, body := range []string{reads, mixed, `{"calls":[{"method":"kick","params":{"fd":1}}]}`, `{"calls":[{"method":"nothing"}]}`} {
		h.want(200, `"results"`)(h.post("batch", body, reader, key(i)))
	}
	h.want(403, `"forbidden"`)(h.post("kick", `{"fd":1}`, reader, key(5)))
	h.want(400, `"badRequest"`)(h.post("batch", `{"calls":7}`, all, key(6)))
	if n := h.store.size(); n != 0 {
		t.Errorf("%d bytes are kept", n)
	}
	full := 0
	for i := range 40 {
		switch status, text := h.post("batch", mixed, all, key(i)); {
		case status == 429 && strings.Contains(text, `"keysFull"`):
			full++
		case status != 200:
			t.Fatal(status, text)
		}
	}
	if n := h.store.size(); full == 0 || n > 2048+1024 {
		t.Errorf("%d were refused, %d bytes are kept", full, n)
	}
	h.backend.said()
	h.want(200, `"results"`)(h.post("batch", mixed, all, key(0))) // it has its answer
	h.want(200, `"result"`)(h.post("kick", `{"fd":1}`, all))
	if got := h.backend.said(); len(got) != 1 {
		t.Error(got)
	}
}

func TestQuota(t *testing.T) {
	q, now := quota{max: 100}, time.Unix(1e9, 0)
	q.add(now, 60)
	q.add(now.Add(5*time.Minute), 40)
	if q.hasRoom(now.Add(9 * time.Minute)) {
		t.Error("forgotten too soon")
	}
	if !q.hasRoom(now.Add(11*time.Minute)) || q.used != 40 {
		t.Error("the first minute still counts")
	}
	if !q.hasRoom(now.Add(time.Hour)) || q.used != 0 {
		t.Error("an hour later something still counts")
	}
}
