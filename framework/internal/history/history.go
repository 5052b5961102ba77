// Package history gives clients the pushes to rooms that they have missed.
//
// The package knows by the configuration which rooms keep how many pushes. It reads pages of these,
// tells clients the position of a room's history, recovers what a reconnecting client missed, and
// closes gaps that opened between nodes. The pushes themselves are in Redis (package bus).
//
// A History stands between the link, which reads and publishes, and the rooms of this process,
// which hold pushes back while missed ones are read. It needs no socket. A History is safe for
// concurrent use; its locks are leaves.
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
	maxRecover = 1000 // pushes that a recovery sends at most
	maxReads   = 8    // reads for clients at the same time, so that Redis has time for others

	// storeWait is how long a recovery waits for a Redis that does not answer. After one has waited
	// in vain, the others do not wait for storePause.
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
	OutboxBytes int      // the outbox of a connection, of which a recovery may take half
	Link        Link
	Log         *zap.Logger
}

// History gives missed pushes. New makes one.
type History struct {
	cfg   Config
	rules []config.HistoryRule
	rooms *room.Rooms // set by Serve
	gaps  gaps
	users budgets // for pages

	used        atomic.Bool   // a push was kept, or may be: members are notified of positions
	unreachable atomic.Int64  // when a recovery has waited for Redis in vain, in UNIX ns
	turns       chan struct{} // one for each read for a client
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

// Serve sets the rooms of this process, before the first connection. Reads in the background end
// with life.
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

// Limits sets how the room keeps the push, by the first rule whose pattern fits.
func (h *History) Limits(room string, d *envelope.Delivery) {
	for _, r := range h.rules {
		if ok, _ := path.Match(r.Pattern, room); ok {
			d.Keep, d.Age = r.Length, r.Age
			return
		}
	}
}

// Page reads a room's kept pushes beyond the offset after, the oldest first, by one call of Redis.
// after < 0 gives the newest ones, by two calls. limit is at most directory.MaxPage, else
// directory.ErrLimit.
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

// Join adds the member to the room, and notifies it of the position of the room's history. It does
// so where a rule keeps pushes to the room, or where want is true. Join does not wait: a position
// that is not known here is asked for on the bus, in the order of the pushes.
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
	if ask && h.cfg.Link.Send(&bus.Message{Kind: envelope.Position, Key: name, Room: true, Place: true}) != nil {
		h.rooms.NoPosition(name) // too many messages wait: the next join asks
	}
	return fresh, err
}

// Position takes the position of a room's history, which came from the bus.
func (h *History) Position(m *bus.Message) {
	h.rooms.SetPosition(m.Key, room.Position{Offset: m.Offset, Epoch: m.Epoch}, positionNotice(m.Key))
}

// Before looks at a push to a room before it is published: pushes before this one may be missing.
func (h *History) Before(m *bus.Message) {
	if m.Offset > 0 && !h.used.Load() {
		h.used.Store(true)
	}
	h.gaps.before(m)
}

// Lost says that messages were gone before they were read (bus.Config.Lost). Any of the rooms
// concerned may have missed some.
func (h *History) Lost(concerns func(key string) bool) { h.gaps.lost(concerns) }

// GiveUp ends the gaps that are open, without waiting for Redis. The members learn that pushes are
// missing.
func (h *History) GiveUp() { h.gaps.end() }

// Turn waits until a client may read a history. EndTurn must follow, unless Turn returns false
// because ctx has ended.
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

// PositionOut is the param of sysPosition.
type PositionOut struct {
	Room   string `json:"room"`
	Offset int64  `json:"offset"`
	Epoch  string `json:"epoch"`
}

func positionNotice(name string) func(room.Position) wire.Frame {
	return func(p room.Position) wire.Frame {
		return envelope.Notice("sysPosition", "历史位置", PositionOut{name, p.Offset, p.Epoch})
	}
}
