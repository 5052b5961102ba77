package history

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/room"
	"wsframe/framework/internal/wire"
)

const epoch = "e"

var errAway = errors.New("redis is away")

// store is a Redis with the history of one room, and this process's rooms.
type store struct {
	*History
	rooms *room.Rooms
	logs  *observer.ObservedLogs

	mu    sync.Mutex
	page  bus.Page
	away  bool
	gate  chan struct{} // non-nil: a read answers when it is closed, with what was stored at its begin
	reads int
	sent  []*bus.Message
	full  bool // Send fails
}

// link is the way to the store.
type link struct{ *store }

func (s link) History(ctx context.Context, _ string, after int64, limit int) (bus.Page, error) {
	s.mu.Lock()
	s.reads++
	page, away, gate := s.page, s.away, s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return bus.Page{}, ctx.Err()
		}
	}
	if away {
		return bus.Page{}, errAway
	}
	var items []bus.Item
	for _, item := range page.Items {
		if item.Offset > after && len(items) < limit {
			items = append(items, item)
		}
	}
	page.Items = items
	return page, nil
}

func (s link) Send(m *bus.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		return bus.ErrFull
	}
	s.sent = append(s.sent, m)
	return nil
}

func (s *store) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// keep stores pushes up to that offset, those from on in the history, too.
func (s *store) keep(to, from int64) {
	s.set(func() {
		for s.page.Offset < to {
			s.page.Offset++
			if s.page.Offset >= from {
				s.page.Items = append(s.page.Items, bus.Item{Offset: s.page.Offset, At: time.Now(), Body: body(s.page.Offset)})
			}
		}
	})
}

// body is the sealed push with that offset.
func body(offset int64) []byte {
	return envelope.Seal(&envelope.Delivery{}, fmt.Appendf(nil, `{"n":%d}`, offset))
}

// comes has the push come to this node from the bus.
func (s *store) comes(offset int64) {
	s.Before(message(offset))
	s.publish(offset)
}

func message(offset int64) *bus.Message {
	return &bus.Message{Kind: envelope.ToRoom, Key: "R", Body: body(offset), Offset: offset, Epoch: epoch}
}

// publish is the second half of comes.
func (s *store) publish(offset int64) {
	m := message(offset)
	d, payload, _ := envelope.Open(m.Body)
	s.rooms.Publish("R", d.FrameOf(payload, m))
}

const outboxBytes = 4096

func newStore(t *testing.T, rules ...string) *store {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	s := &store{logs: logs, page: bus.Page{Epoch: epoch}}
	var everyone []*room.Member
	s.rooms = room.New(room.Config{
		Flush: 5 * time.Millisecond, OutboxBytes: outboxBytes, OutboxMessages: 100, PerMember: 10,
		Everyone: func() []*room.Member { return everyone }, Count: func() int { return len(everyone) },
	})
	var err error
	s.History, err = New(Config{Rules: rules, OutboxBytes: outboxBytes, Link: link{s}, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(t.Context(), s.rooms)
	return s
}

// member is a connection that notes the offsets of pushes and the params of notices that it gets.
type member struct {
	room.Member
	mu  sync.Mutex
	got []string
}

func (s *store) member(fd int64, rooms ...string) *member {
	m := &member{}
	m.Init(s.rooms, fd, m)
	for _, name := range rooms {
		_, _ = m.Join(name)
	}
	return m
}

func (m *member) Send(f wire.Frame) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for b := f.Bytes; len(b) > 0; {
		h, _ := wire.ParseHeader(b)
		text := string(b[h.Size:][:h.Length])
		b = b[h.Size+int(h.Length):]
		if _, param, ok := strings.Cut(text, `"param":`); ok {
			_, event, _ := strings.Cut(text, `"event":"`)
			event, _, _ = strings.Cut(event, `"`)
			text = event + " " + strings.TrimSuffix(param, "}")
		} else {
			text, _, _ = strings.Cut(strings.TrimPrefix(text, `{"n":`), ",")
		}
		m.got = append(m.got, text)
	}
	return nil
}

func (m *member) SendAll(frames []wire.Frame) {
	for _, f := range frames {
		_ = m.Send(f)
	}
}

func (m *member) Close(code int, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, fmt.Sprint("close ", code))
}

// take gives what has come since the last take or want.
func (m *member) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.got
	m.got = nil
	return got
}

// want checks what has come since the last take or want.
func (m *member) want(t *testing.T, want ...string) {
	t.Helper()
	if got := strings.Join(m.take(), " | "); got != strings.Join(want, " | ") {
		t.Errorf("member %d got %q, want %q", m.FD, got, strings.Join(want, " | "))
	}
}

// lostUpTo is the notice for a member whose missed pushes are lost up to that offset.
func lostUpTo(offset int64, reason string) string {
	return fmt.Sprintf(`sysRecovered {"room":"R","recovered":false,"offset":%d,"epoch":"e","count":0,"reason":%q}`, offset, reason)
}

func offsets(from, to int64) (list []string) {
	for ; from <= to; from++ {
		list = append(list, fmt.Sprint(from))
	}
	return list
}
