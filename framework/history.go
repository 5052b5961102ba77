package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/hub"
	"wsframe/framework/internal/names"
)

const (
	maxSeen    = 32   // rooms that a client may come back to
	maxRecover = 1000 // pushes that a recovery sends; who missed more is told so
)

// position is a place in a room's history. Offsets of one epoch increase by one.
type position = hub.Mark

// histories says which rooms keep a history.
type histories struct {
	rules []historyRule
	kept  sync.Map // rooms that this process has kept something of
}

type historyRule struct {
	pattern string
	length  int
	age     time.Duration
}

// historyRules reads the configuration's pattern:length:age.
func historyRules(list []string) ([]historyRule, error) {
	var rules []historyRule
	for _, text := range list {
		fields := strings.Split(text, ":")
		bad := func(why string) error {
			return fmt.Errorf("history.rooms: %.80q: %s; wanted is pattern:length:age, like CHAT_*:200:24h", text, why)
		}
		if len(fields) < 3 {
			return nil, bad("something is missing")
		}
		n := len(fields)
		r := historyRule{pattern: strings.Join(fields[:n-2], ":")}
		var err error
		if _, err = path.Match(r.pattern, ""); err != nil || r.pattern == "" {
			return nil, bad("the pattern cannot be read")
		}
		if prefix := names.Reserved(r.pattern); prefix != "" {
			return nil, bad("no room begins with " + prefix + ", which is reserved")
		}
		if r.length, err = strconv.Atoi(fields[n-2]); err != nil || r.length < 1 || r.length > 100_000 {
			return nil, bad("the length is 1 to 100000")
		}
		if r.age, err = time.ParseDuration(fields[n-1]); err != nil || r.age < time.Second {
			return nil, bad("the age is a time from 1s on")
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func (h *histories) limits(room string, d *delivery) {
	for _, r := range h.rules {
		if ok, _ := path.Match(r.pattern, room); ok {
			d.keep, d.age = r.length, r.age
			return
		}
	}
}

func (h *histories) known(room string) bool { _, ok := h.kept.Load(room); return ok }
func (h *histories) note(room string) {
	if !h.known(room) {
		h.kept.Store(room, struct{}{})
	}
}

// HistoryItem is a kept push.
type HistoryItem struct {
	Offset int64           `json:"offset"`
	Time   int64           `json:"time"` // UNIX milliseconds
	Push   json.RawMessage `json:"push"` // as it was sent, with room, offset and epoch
}

// HistoryPage is a part of a room's history.
type HistoryPage struct {
	Room   string        `json:"room"`
	Epoch  string        `json:"epoch"`  // another one means that the history was lost: offsets begin again
	Offset int64         `json:"offset"` // of the newest push
	First  int64         `json:"first"`  // of the oldest that is kept; 0 = none
	Items  []HistoryItem `json:"items"`  // the oldest first
}

// History reads a room's kept pushes beyond the offset after, the oldest first. It costs one Redis call. after < 0 gives the
// newest ones, for two. limit is at most 1,000.
func (s *Sender) History(ctx context.Context, room string, after int64, limit int) (HistoryPage, error) {
	if err := names.Room(room); err != nil {
		return HistoryPage{}, err
	}
	if limit < 1 || limit > maxPage {
		return HistoryPage{}, errLimit
	}
	if after < 0 {
		p, err := s.app.readHistory(ctx, room, 0, 1)
		if err != nil {
			return HistoryPage{}, err
		}
		after = max(0, p.Offset-int64(limit))
	}
	p, err := s.app.readHistory(ctx, room, after, limit)
	if err != nil {
		return HistoryPage{}, err
	}
	page := HistoryPage{Room: room, Epoch: p.Epoch, Offset: p.Offset, First: p.First, Items: make([]HistoryItem, 0, len(p.Items))}
	for _, item := range p.Items {
		if _, payload, err := openPush(item.Body); err == nil {
			page.Items = append(page.Items, HistoryItem{item.Offset, item.At.UnixMilli(), positioned(nil, payload, room, p.Epoch, item.Offset)})
		}
	}
	return page, nil
}

var errNotStarted = errors.New("the node is not in touch with the others yet")

func (a *App) readHistory(ctx context.Context, room string, after int64, limit int) (bus.Page, error) {
	b := a.bus.Load()
	if b == nil {
		return bus.Page{}, errNotStarted
	}
	return b.History(ctx, room, after, limit)
}

// recovery is what a client that came back is told.
type recovery struct {
	Room      string `json:"room"`
	Recovered bool   `json:"recovered"`
	Pending   bool   `json:"pending,omitempty"` // not in the room yet: it comes with the join
	Offset    int64  `json:"offset"`            // from here on everything comes live
	Epoch     string `json:"epoch"`
	Count     int    `json:"count"`            // pushes that were sent again
	Reason    string `json:"reason,omitempty"` // why not: epoch, future, gone, tooMany, tooOften, unavailable

	reads int // calls to Redis that it took
}

// recoverRoom reads what was missed since p. live is the position from which on everything was got already; zero = nothing yet. The
// room is to be kept back meanwhile.
func (a *App) recoverRoom(ctx context.Context, room string, p, live position) (r recovery, missed []hub.Frame) {
	r.Room = room
	page, err := a.readHistory(ctx, room, p.Offset, maxRecover)
	offset, follows := page.Follows(p.Epoch, p.Offset)
	p.Offset = offset
	r.Epoch, r.Offset, r.reads = page.Epoch, page.Offset, 1+len(page.Items)/bus.PageItems
	until := page.Offset
	if live.Offset > 0 && live.Epoch == page.Epoch {
		until = live.Offset - 1
	}
	switch {
	case err != nil:
		a.log.Warn("recovery", zap.Error(err))
		r.Reason = "unavailable"
	case !follows:
		r.Reason = "epoch"
	case p.Offset > page.Offset || p.Offset < 0:
		r.Reason = "future"
	case until-p.Offset > maxRecover:
		r.Reason = "tooMany"
	default:
		next, size := p.Offset+1, 0
		for _, item := range page.Items {
			if item.Offset != next || item.Offset > until {
				break
			}
			next++
			d, payload, err := openPush(item.Body)
			if err != nil {
				continue
			}
			f := frameOf(payload, &bus.Message{Key: room, Offset: item.Offset, Epoch: page.Epoch}, &d)
			if size += f.Len(); size > a.cfg.Limits.OutboxBytes/2 {
				r.Reason = "tooMany"
				return r, nil
			}
			missed = append(missed, f)
		}
		if next <= until {
			r.Reason = "gone"
			return r, nil
		}
		r.Recovered, r.Count = true, len(missed)
	}
	return r, missed
}

// announceRecovery tells a client that joins what comes behind it.
func announceRecovery(r recovery) hub.Frame {
	f, _ := encode(OK("sysRecovered", "错过的消息", r)) // texts and numbers: it cannot fail
	return f
}

// catchUp sends what was missed to a connection for which the room is kept back, behind what first gives for it.
func (a *App) catchUp(ctx context.Context, c *hub.Conn, u *hub.CatchUp, room string, p position, first func(recovery) hub.Frame) (r recovery) {
	var frames, missed []hub.Frame
	var until hub.Mark
	defer func() { c.CaughtUp(u, frames, until) }() // whatever happens: else nothing of the room would come any more
	if budget := &sessionOf(c).recoveries; budget.left() {
		live := c.LiveFrom(room)
		r, missed = a.recoverRoom(ctx, room, p, live)
		budget.spend(r.reads)
		if live.Offset == 0 || live.Epoch != r.Epoch {
			until = hub.Mark{Offset: r.Offset, Epoch: r.Epoch} // the last of it may not have come by yet
		}
	} else {
		r = recovery{Room: room, Reason: "tooOften"}
	}
	if first != nil {
		frames = append(frames, first(r))
	}
	frames = append(frames, missed...)
	return r
}

// recoverHere is sys.recover for one room.
func (a *App) recoverHere(ctx context.Context, c *hub.Conn, room string, p position) (recovery, error) {
	if err := names.Room(room); err != nil {
		return recovery{}, err
	}
	s, here := a.own(c)
	if !here { // this process does not know what comes live
		return recovery{Room: room, Reason: "unavailable", Offset: p.Offset, Epoch: p.Epoch}, nil
	}
	if !c.InRoom(room) {
		defer s.mu.Unlock()
		if !s.expect(room, p) {
			return recovery{}, fmt.Errorf("at most %d rooms can be recovered", maxSeen)
		}
		return recovery{Room: room, Pending: true, Offset: p.Offset, Epoch: p.Epoch}, nil
	}
	u := c.CatchUp(room)
	s.mu.Unlock()
	if u == nil { // a join is at it
		return recovery{Room: room, Pending: true, Offset: p.Offset, Epoch: p.Epoch}, nil
	}
	return a.catchUp(ctx, c, u, room, p, nil), nil
}

// budget bounds what a connection's recoveries cost, in calls to Redis: all that a client can have missed, and then some a second.
type budget struct {
	mu    sync.Mutex
	spent float64
	at    time.Time
}

const (
	budgetReads = maxSeen * (maxRecover/bus.PageItems + 1)
	budgetRate  = 10 // a second
)

func (b *budget) left() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.spent = max(0, b.spent-budgetRate*now.Sub(b.at).Seconds())
	b.at = now
	return b.spent < budgetReads
}

func (b *budget) spend(reads int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent += float64(reads)
}

// parseSeen reads the query's recover=room:epoch:offset,… of a client that comes back. What cannot be read is left out: the
// client is then not told of a recovery, and begins anew.
func parseSeen(rawQuery string) map[string]position {
	if !strings.Contains(rawQuery, "recover=") {
		return nil
	}
	q, _ := url.ParseQuery(rawQuery) // what can be read of it
	seen := map[string]position{}
	for one := range strings.SplitSeq(q.Get("recover"), ",") {
		i := strings.LastIndexByte(one, ':')
		if i < 0 || len(seen) == maxSeen {
			continue
		}
		offset, err := strconv.ParseInt(one[i+1:], 10, 64)
		j := strings.LastIndexByte(one[:i], ':')
		if err != nil || j < 0 || names.Room(one[:j]) != nil || i-j > 65 {
			continue
		}
		seen[one[:j]] = position{Offset: offset, Epoch: one[j+1 : i]}
	}
	return seen
}
