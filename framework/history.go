package framework

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/bus"
	"wsframe/framework/internal/directory"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/room"
	"wsframe/framework/internal/wire"
)

const (
	maxSeen    = 32   // rooms that a client may come back to
	maxRecover = 1000 // pushes that a recovery sends; who missed more is told so

	unavailable = "unavailable" // the reason of a recovery that Redis does not answer

	// storeWait is how long a recovery waits for a Redis that does not answer. Where one has waited in vain, the others do not for storePause.
	storeWait, storePause = 5 * time.Second, time.Second
)

// position is a place in a room's history. Offsets of one epoch increase by one.
type position = room.Position

// catchingUp is a connection's wait for what it missed of a room.
type catchingUp = room.CatchUp

// histories says which rooms keep a history.
type histories struct {
	rules []historyRule

	used  atomic.Bool   // something was kept, or may be: who joins is told where a room's history stands
	away  atomic.Int64  // when a recovery has waited for Redis in vain, in UNIX ns
	turns chan struct{} // of the reads that clients ask for: so many run at a time
}

// maxReads is how many histories are read at a time for clients, so that they leave Redis to the others.
const maxReads = 8

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
			d.Keep, d.Age = r.length, r.age
			return
		}
	}
}

// HistoryItem is a kept push.
type HistoryItem = api.HistoryItem

// HistoryPage is a part of a room's history.
type HistoryPage = api.HistoryPage

// History reads a room's kept pushes beyond the offset after, the oldest first. It costs one Redis call. after < 0 gives the
// newest ones, for two. limit is at most 1,000.
func (s *Sender) History(ctx context.Context, room string, after int64, limit int) (HistoryPage, error) {
	if err := names.Room(room); err != nil {
		return HistoryPage{}, err
	}
	if limit < 1 || limit > directory.MaxPage {
		return HistoryPage{}, directory.ErrLimit
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
		if _, payload, err := envelope.Open(item.Body); err == nil {
			page.Items = append(page.Items, HistoryItem{Offset: item.Offset, Time: item.At.UnixMilli(), Push: envelope.AppendPositioned(nil, payload, room, p.Epoch, item.Offset)})
		}
	}
	return page, nil
}

// joinPlaced has the connection told where the room's history stands. It waits for nobody: what is not known here is asked on the bus, in
// the order of what is published.
func (a *App) joinPlaced(c *hub.Conn, room string, want bool) (fresh bool, err error) {
	var d delivery
	a.histories.limits(room, &d)
	if want = want || d.Keep > 0; want {
		a.histories.used.Store(true)
	}
	if !a.histories.used.Load() {
		return c.Join(room)
	}
	fresh, ask, err := c.JoinNotified(room, want, tellPlace(room))
	if ask && a.link.Send(&bus.Message{Kind: envelope.Position, Key: room, Place: true}) != nil {
		a.hub.NoPosition(room) // too much waits: the next one asks
	}
	return fresh, err
}

// placed takes where a room's history stands.
func (a *App) placed(m *bus.Message) {
	a.hub.SetPosition(m.Key, position{Offset: m.Offset, Epoch: m.Epoch}, tellPlace(m.Key))
}

type placeOut struct {
	Room   string `json:"room"`
	Offset int64  `json:"offset"`
	Epoch  string `json:"epoch"`
}

func tellPlace(room string) func(position) wire.Frame {
	return func(p position) wire.Frame {
		f, _ := encode(OK("sysPosition", "历史位置", placeOut{room, p.Offset, p.Epoch})) // texts and numbers: it cannot fail
		return f
	}
}

func (a *App) readHistory(ctx context.Context, room string, after int64, limit int) (bus.Page, error) {
	return a.link.History(ctx, room, after, limit)
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
func (a *App) recoverRoom(ctx context.Context, room string, p, live position) (r recovery, missed []wire.Frame) {
	r.Room = room
	page, err := a.readHistory(ctx, room, p.Offset, maxRecover)
	offset, follows := p.Offset, false
	if err == nil {
		offset, follows = page.Follows(p.Epoch, p.Offset)
	}
	r.Epoch, r.Offset, r.reads = page.Epoch, page.Offset, 1+len(page.Items)/bus.PageItems
	until := page.Offset
	if live.Offset > 0 && live.Epoch == page.Epoch {
		until = live.Offset - 1
	}
	switch {
	case err != nil:
		a.log.Debug("recovery", zap.String("room", room), zap.Error(err))
		r.Reason, r.Epoch, r.Offset = unavailable, p.Epoch, p.Offset
	case !follows:
		r.Reason = "epoch"
	case offset > page.Offset || offset < 0:
		r.Reason = "future"
	case until-offset > maxRecover:
		r.Reason = "tooMany"
	default:
		next, size := offset+1, 0
		for _, item := range page.Items {
			if item.Offset != next || item.Offset > until {
				break
			}
			next++
			d, payload, err := envelope.Open(item.Body)
			if err != nil {
				continue
			}
			f := d.FrameOf(payload, &bus.Message{Key: room, Offset: item.Offset, Epoch: page.Epoch})
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

// recoverPatiently is recoverRoom that waits for a Redis that does not answer, until then.
func (a *App) recoverPatiently(ctx context.Context, room string, p position, live func() position, end time.Time) (r recovery, missed []wire.Frame) {
	r = recovery{Room: room, Epoch: p.Epoch, Offset: p.Offset, Reason: unavailable}
	if away := a.histories.away.Load(); time.Since(time.Unix(0, away)) < storePause {
		return r, nil
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	reads := 0
	for {
		if a.histories.turn(ctx) {
			r, missed = a.recoverRoom(ctx, room, p, live())
			a.histories.turnEnds()
		}
		reads += r.reads
		if r.reads = reads; r.Reason != unavailable {
			return r, missed
		}
		select {
		case <-time.After(storeWait / 20):
		case <-ctx.Done():
			if !time.Now().Before(end) {
				a.log.Warn("redis does not answer: clients that come back are told that what they missed is unavailable")
				a.histories.away.Store(time.Now().UnixNano())
			}
			return r, nil
		}
	}
}

// turn waits for a client's turn to read a history; turnEnds follows where there is one.
func (h *histories) turn(ctx context.Context) bool {
	select {
	case h.turns <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (h *histories) turnEnds() { <-h.turns }

// announceRecovery tells a client that joins what comes behind it.
func announceRecovery(r recovery) wire.Frame {
	f, _ := encode(OK("sysRecovered", "错过的消息", r)) // texts and numbers: it cannot fail
	return f
}

// catchUp sends what was missed to a connection for which the room is kept back, behind what first gives for it.
func (a *App) catchUp(ctx context.Context, c *hub.Conn, u *catchingUp, room string, p position, first func(recovery) wire.Frame) (r recovery) {
	var frames, missed []wire.Frame
	var until position
	defer func() { u.End(frames, until) }() // whatever happens: else nothing of the room would come any more
	if budget := &sessionOf(c).recoveries; budget.left(recoverBurst, recoverRate) {
		var live position
		r, missed = a.recoverPatiently(ctx, room, p, func() position { live = c.LiveFrom(room); return live }, time.Now().Add(storeWait))
		budget.spend(r.reads)
		if r.Reason != unavailable && (live.Offset == 0 || live.Epoch != r.Epoch) {
			until = position{Offset: r.Offset, Epoch: r.Epoch} // the last of it may not have come by yet
		}
	} else {
		r = recovery{Room: room, Epoch: p.Epoch, Offset: p.Offset, Reason: "tooOften"}
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
	if len(p.Epoch) > envelope.MaxEpoch { // it may be kept, and travel
		return recovery{}, errEpoch
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
		if err != nil || j < 0 || names.Room(one[:j]) != nil || i-j > envelope.MaxEpoch+1 {
			continue
		}
		seen[one[:j]] = position{Offset: offset, Epoch: one[j+1 : i]}
	}
	return seen
}
