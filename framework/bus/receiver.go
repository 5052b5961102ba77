package bus

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/lograte"
)

// receiver is the application: it calls Config.Receive and Config.Lost and survives their panics.
// Methods are safe for concurrent use as far as the two functions are.
type receiver struct {
	cfg    *Config
	counts *counts
	log    *complaints
}

func (r *receiver) deliver(m *Message) {
	r.counts.received.Add(1)
	r.guard(func() { r.cfg.Receive(m) })
}

// lost notifies the application of messages that are gone.
func (r *receiver) lost(concerns func(key string) bool) {
	if r.cfg.Lost != nil {
		r.guard(func() { r.cfg.Lost(concerns) })
	}
}

func (r *receiver) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			r.log.say("a receiver of messages between nodes panics", zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	f()
}

// complaints logs each text at most once a second. It is safe for concurrent use.
type complaints struct {
	log *zap.Logger

	mu    sync.Mutex
	texts map[string]*lograte.Limit
}

func newComplaints(log *zap.Logger) *complaints {
	return &complaints{log: log, texts: map[string]*lograte.Limit{}}
}

func (c *complaints) say(text string, fields ...zap.Field) {
	c.mu.Lock()
	limit := c.texts[text]
	if limit == nil {
		limit = &lograte.Limit{Every: time.Second}
		c.texts[text] = limit
	}
	c.mu.Unlock()
	if limit.Due(time.Now()) > 0 {
		c.log.Error(text, fields...)
	}
}
