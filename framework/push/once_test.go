package push

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// memory is a Store.
type memory struct {
	mu    sync.Mutex
	m     map[string][]byte
	fails bool
}

var errStore = errors.New("store is away")

func (m *memory) Claim(_ context.Context, key string, value []byte, _ time.Duration) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails {
		return nil, errStore
	}
	if there, ok := m.m[key]; ok {
		return there, nil
	}
	m.m[key] = bytes.Clone(value)
	return nil, nil
}

func (m *memory) Put(_ context.Context, key string, value []byte, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.m[key] = bytes.Clone(value)
	return nil
}

func (m *memory) Remove(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.m, key)
	return nil
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
	// What was not done may come again.
	key = "Idempotency-Key: k2"
	h.want(400, `"badRequest"`)(h.post("kick", `{"fd":"1"}`, key))
	h.backend.fail = fail(CodeQueueFull, "full")
	h.want(503, `"queueFull"`)(h.post("kick", `{"fd":1}`, key))
	h.backend.fail = nil
	h.want(200, `{}`)(h.post("kick", `{"fd":1}`, key))
	// What may have been done is not done again.
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
	h.store.fails = false

	// Many at the same time: one does it, the others get its answer.
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
