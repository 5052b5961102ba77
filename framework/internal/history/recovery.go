package history

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/room"
	"wsframe/framework/internal/wire"
)

// Unavailable is the reason of a failed recovery where Redis does not answer, or where the
// connection has moved to another worker.
const Unavailable = "unavailable"

// Recovery is the outcome of a recovery, as the client gets it.
type Recovery struct {
	Room      string `json:"room"`
	Recovered bool   `json:"recovered"`
	Pending   bool   `json:"pending,omitempty"` // the client is not in the room yet
	Offset    int64  `json:"offset"`            // everything beyond it is sent live
	Epoch     string `json:"epoch"`
	Count     int    `json:"count"` // pushes that were sent again
	// Reason of a failure: epoch, future, gone, tooMany, tooOften or unavailable.
	Reason string `json:"reason,omitempty"`

	reads int // calls of Redis
}

// recoverRoom reads the pushes that were missed since p. live is the position from which on the
// reader has everything already, zero = nothing. The room must be held meanwhile.
func (h *History) recoverRoom(ctx context.Context, name string, p, live room.Position) (r Recovery, missed []wire.Frame) {
	r.Room = name
	page, err := h.cfg.Link.History(ctx, name, p.Offset, maxRecover)
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
		h.cfg.Log.Debug("recovery", zap.String("room", name), zap.Error(err))
		r.Reason, r.Epoch, r.Offset = Unavailable, p.Epoch, p.Offset
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
			f := d.FrameOf(payload, &bus.Message{Key: name, Offset: item.Offset, Epoch: page.Epoch})
			if size += f.Len(); size > h.cfg.OutboxBytes/2 {
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

// recoverUntil is recoverRoom that tries again until end while Redis does not answer.
func (h *History) recoverUntil(ctx context.Context, name string, p room.Position, live func() room.Position, end time.Time) (r Recovery, missed []wire.Frame) {
	r = Recovery{Room: name, Epoch: p.Epoch, Offset: p.Offset, Reason: Unavailable}
	if time.Since(time.Unix(0, h.unreachable.Load())) < storePause {
		return r, nil
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	reads := 0
	for {
		if h.Turn(ctx) {
			r, missed = h.recoverRoom(ctx, name, p, live())
			h.EndTurn()
		}
		reads += r.reads
		if r.reads = reads; r.Reason != Unavailable {
			return r, missed
		}
		select {
		case <-time.After(storeWait / 20):
		case <-ctx.Done():
			if !time.Now().Before(end) {
				h.cfg.Log.Warn("redis does not answer: clients that come back are told that what they missed is unavailable")
				h.unreachable.Store(time.Now().UnixNano())
			}
			return r, nil
		}
	}
}

// Announce encodes the outcome of a recovery for its client.
func Announce(r Recovery) wire.Frame {
	return envelope.Notice("sysRecovered", "错过的消息", r)
}

// CatchUp recovers the room for a member, and ends its u. What first returns, if there is a
// first, is sent before the missed pushes.
func (h *History) CatchUp(ctx context.Context, m *room.Member, u *room.CatchUp, b *Budget, name string, p room.Position, first func(Recovery) wire.Frame) (r Recovery) {
	var frames, missed []wire.Frame
	var until room.Position
	defer func() { u.End(frames, until) }() // also after a panic: the member gets nothing until then
	if b.remains(recoverBurst, recoverRate) {
		var live room.Position
		r, missed = h.recoverUntil(ctx, name, p, func() room.Position { live = m.LiveFrom(name); return live }, time.Now().Add(storeWait))
		b.spend(r.reads)
		if r.Reason != Unavailable && (live.Offset == 0 || live.Epoch != r.Epoch) {
			until = room.Position{Offset: r.Offset, Epoch: r.Epoch} // the last ones may still be on the bus
		}
	} else {
		r = Recovery{Room: name, Epoch: p.Epoch, Offset: p.Offset, Reason: "tooOften"}
	}
	if first != nil {
		frames = append(frames, first(r))
	}
	frames = append(frames, missed...)
	return r
}

// ParsePositions reads recover=room:epoch:offset,… from the query of a client that reconnects.
// Entries that cannot be read are left out: the client gets no recovery of these rooms, and
// begins anew.
func ParsePositions(rawQuery string) map[string]room.Position {
	if !strings.Contains(rawQuery, "recover=") {
		return nil
	}
	q, _ := url.ParseQuery(rawQuery) // what can be read of it
	seen := map[string]room.Position{}
	for one := range strings.SplitSeq(q.Get("recover"), ",") {
		i := strings.LastIndexByte(one, ':')
		if i < 0 || len(seen) == MaxRooms {
			continue
		}
		offset, err := strconv.ParseInt(one[i+1:], 10, 64)
		j := strings.LastIndexByte(one[:i], ':')
		if err != nil || j < 0 || names.Room(one[:j]) != nil || i-j > envelope.MaxEpoch+1 {
			continue
		}
		seen[one[:j]] = room.Position{Offset: offset, Epoch: one[j+1 : i]}
	}
	return seen
}
