package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// departed is a departure that Redis has, and that may not have been announced yet.
type departed struct {
	present *Present
	at      time.Time
}

// departures remembers the users whose leaving was written, until it was announced. If Redis is
// emptied before, nobody else knows of them.
type departures struct {
	c        *client
	peers    *Peers
	presence *Presence
	max      int
	list     []departed // the oldest first
}

// remember adds the departures among written ops.
func (de *departures) remember(ops []op) {
	if !de.c.leased() {
		return // the embedded store is never emptied
	}
	de.forgetAnnounced()
	now := de.c.now()
	for i := range ops {
		if p := ops[i].present; p != nil && p.value != "" {
			de.list = append(de.list, departed{p, now})
		}
	}
	if over := len(de.list) - de.max; over > 0 {
		de.list = slices.Delete(de.list, 0, over)
	}
}

// forgetAnnounced forgets the departures that were announced before Redis was emptied.
func (de *departures) forgetAnnounced() {
	announced := de.peers.lastIntact().Add(-de.presence.away - announceTime)
	i := slices.IndexFunc(de.list, func(d departed) bool { return d.at.After(announced) })
	if i < 0 {
		de.list = nil
	}
	de.list = slices.Delete(de.list, 0, max(i, 0))
}

// again writes the departures into a Redis that was emptied. Those that were announced just before
// are announced again, and so is the coming of users who are back meanwhile.
func (de *departures) again(ctx context.Context) error {
	for part := range slices.Chunk(de.list, pipeline/2) {
		list := make([]*Present, len(part))
		for i := range part {
			p := *part[i].present
			p.value = "! " + p.Nickname
			list[i], part[i].at = &p, de.c.now()
		}
		err := de.c.write(ctx, false, func(ctx context.Context, p *plan) { de.presence.write(ctx, p, list) })
		if err != nil {
			return fmt.Errorf("note %d departures again: %w", len(de.list), err)
		}
	}
	return nil
}
