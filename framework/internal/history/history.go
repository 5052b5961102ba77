// Package history keeps rooms' pushes for those who were away: which rooms keep any and how many, pages of them, where a history
// stands, and what a client that comes back has missed. The pushes themselves are in Redis (package bus).
//
// A History stands between the link, which reads and publishes, and the rooms of this process, which hold back what is published while
// what was missed is read. It needs no socket. It is safe for concurrent use; its locks are leaves.
package history

import (
	"context"
	"fmt"
	"path"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/bus"
	"wsframe/framework/internal/directory"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/room"
	"wsframe/framework/internal/wire"
	"wsframe/library/config"
)

const (
	MaxRooms   = 32   // rooms that a client may come back to
	maxRecover = 1000 // pushes that a recovery sends; who missed more is told so
	maxReads   = 8    // histories that are read at a time for clients, so that they leave Redis to the others

	// storeWait is how long a recovery waits for a Redis that does not answer. Where one has waited in vain, the others do not for storePause.
	storeWait, storePause = 5 * time.Second, time.Second
)

// Link is this node's way to Redis and to the others (package link).
type Link interface {
	History(ctx context.Context, room string, after int64, limit int) (bus.Page, error)
	Send(m *bus.Message) error
}

// Config of a History.
type Config struct {
	Rules       []string // pattern:length:age (history.rooms)
	OutboxBytes int      // of a connection: half of it is what a recovery may send
	Link        Link
	Log         *zap.Logger
}

// History is made by New.
type History struct {
	cfg   Config
	rules []config.HistoryRule
	rooms *room.Rooms // set by Serve
	gaps  gaps
	users budgets // of sys.history, by user

	used  atomic.Bool   // something was kept, or may be: who joins is told where a room's history stands
	away  atomic.Int64  // when a recovery has waited for Redis in vain, in UNIX ns
	turns chan struct{} // of the reads that clients ask for
}

// New checks the rules.
func New(cfg Config) (*History, error) {
	rules, err := parseRules(cfg.Rules)
	if err != nil {
		return nil, err
	}
	h := &History{cfg: cfg, rules: rules, turns: make(chan struct{}, maxReads)}
	h.gaps.history, h.gaps.rooms = h, map[string]*gap{}
	return h, nil
}

// Serve gives the rooms of this process, before the first connection. What is read in the background ends with life.
func (h *History) Serve(life context.Context, rooms *room.Rooms) { h.gaps.life, h.rooms = life, rooms }

// parseRules reads history.rooms. Names that are reserved for the server are no rooms.
func parseRules(list []string) ([]config.HistoryRule, error) {
	rules, err := config.HistoryRules(list)
	if err != nil {
		return nil, fmt.Errorf("history.rooms: %w", err)
	}
	for _, r := range rules {
		if prefix := names.Reserved(r.Pattern); prefix != "" {
			return nil, fmt.Errorf("history.rooms: %.80q: no room begins with %s, which is reserved", r.Pattern, prefix)
		}
	}
	return rules, nil
}

// Limits has a push to the room kept as the rules say.
func (h *History) Limits(room string, d *envelope.Delivery) {
	for _, r := range h.rules {
		if ok, _ := path.Match(r.Pattern, room); ok {
			d.Keep, d.Age = r.Length, r.Age
			return
		}
	}
}

// Page reads a room's kept pushes beyond the offset after, the oldest first. It costs one Redis call. after < 0 gives the newest
// ones, for two. limit is at most directory.MaxPage.
func (h *History) Page(ctx context.Context, room string, after int64, limit int) (api.HistoryPage, error) {
	if limit < 1 || limit > directory.MaxPage {
		return api.HistoryPage{}, directory.ErrLimit
	}
	if after < 0 {
		p, err := h.cfg.Link.History(ctx, room, 0, 1)
		if err != nil {
			return api.HistoryPage{}, err
		}
		after = max(0, p.Offset-int64(limit))
	}
	p, err := h.cfg.Link.History(ctx, room, after, limit)
	if err != nil {
		return api.HistoryPage{}, err
	}
	page := api.HistoryPage{Room: room, Epoch: p.Epoch, Offset: p.Offset, First: p.First, Items: make([]api.HistoryItem, 0, len(p.Items))}
	for _, item := range p.Items {
		if _, payload, err := envelope.Open(item.Body); err == nil {
			push := envelope.AppendPositioned(nil, payload, room, p.Epoch, item.Offset)
			page.Items = append(page.Items, api.HistoryItem{Offset: item.Offset, Time: item.At.UnixMilli(), Push: push})
		}
	}
	return page, nil
}

// Join puts the member into the room and has it told where the room's history stands; want says so where no rule does. It waits for
// nobody: what is not known here is asked on the bus, in the order of what is published.
func (h *History) Join(m *room.Member, name string, want bool) (fresh bool, err error) {
	var d envelope.Delivery
	h.Limits(name, &d)
	if want = want || d.Keep > 0; want {
		h.used.Store(true)
	}
	if !h.used.Load() {
		return m.Join(name)
	}
	fresh, ask, err := m.JoinNotified(name, want, positionNotice(name))
	if ask && h.cfg.Link.Send(&bus.Message{Kind: envelope.Position, Key: name, Place: true}) != nil {
		h.rooms.NoPosition(name) // too much waits: the next one asks
	}
	return fresh, err
}

// Position takes where a room's history stands, from the bus.
func (h *History) Position(m *bus.Message) {
	h.rooms.SetPosition(m.Key, room.Position{Offset: m.Offset, Epoch: m.Epoch}, positionNotice(m.Key))
}

// Before looks at a push to a room before it is published: the one before it may be missing.
func (h *History) Before(m *bus.Message) {
	if m.Offset > 0 && !h.used.Load() {
		h.used.Store(true)
	}
	h.gaps.before(m)
}

// Lost takes that messages were gone (bus.Config.Lost): any room of those keys may have missed some.
func (h *History) Lost(concerns func(key string) bool) { h.gaps.lost(concerns) }

// GiveUp has members told of what could not be read yet, without waiting for Redis.
func (h *History) GiveUp() { h.gaps.end() }

// Turn waits for a client's turn to read a history: false when ctx ends. EndTurn follows where there is one.
func (h *History) Turn(ctx context.Context) bool {
	select {
	case h.turns <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// EndTurn lets the next client read.
func (h *History) EndTurn() { <-h.turns }

type positionOut struct {
	Room   string `json:"room"`
	Offset int64  `json:"offset"`
	Epoch  string `json:"epoch"`
}

func positionNotice(name string) func(room.Position) wire.Frame {
	return func(p room.Position) wire.Frame {
		return envelope.Notice("sysPosition", "历史位置", positionOut{name, p.Offset, p.Epoch})
	}
}
