package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Peers knows the other nodes, by Redis and by their messages.
type Peers struct {
	c *client

	companyAt atomic.Pointer[time.Time] // when another node was last seen to have a lease

	mu      sync.Mutex      // a leaf
	living  map[member]bool // members that may live, by the last look at Redis
	at      time.Time       // time of that look
	emptied time.Time       // when Redis was last found emptied
	intact  time.Time       // when Redis was last found not emptied
}

// Living lists the ids of the nodes that may have connections, including this one, each once.
//
// These nodes are on the list of members, and were not declared dead. After Redis was emptied,
// members that were listed before count as living for the time of a lease, in which they enter the
// list again. It costs two round trips.
func (ps *Peers) Living(ctx context.Context) ([]string, error) {
	list, err := ps.c.listMembers(ctx)
	if err != nil {
		return nil, err
	}
	declared := make([]*redis.IntCmd, len(list))
	err = ps.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, m := range list {
			declared[i] = p.Exists(ctx, ps.c.keys.dead(m))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look for living nodes: %w", err)
	}
	dead := map[member]bool{}
	for i, m := range list {
		if declared[i].Val() == 1 {
			dead[m] = true
		}
	}
	ids := []string{ps.c.id}
	for m := range ps.known(list, dead) {
		if !slices.Contains(ids, m.node) {
			ids = append(ids, m.node)
		}
	}
	return ids, nil
}

// known notes the members that Redis lists and those of them that are dead, and returns the members
// that may live.
func (ps *Peers) known(list []member, dead map[member]bool) map[member]bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	now := ps.c.now()
	if !slices.Contains(list, ps.c.self()) {
		ps.emptied = now // the next refresh of the lease will find the same
	}
	living := map[member]bool{}
	for _, m := range list {
		living[m] = !dead[m]
	}
	if now.Sub(ps.emptied) < ps.c.lease {
		for m := range ps.living {
			if _, listed := living[m]; !listed {
				living[m] = true
			}
		}
	}
	maps.DeleteFunc(living, func(_ member, lives bool) bool { return !lives })
	ps.living, ps.at = living, now
	return living
}

// wasEmptied notes that Redis was found emptied at that time.
func (ps *Peers) wasEmptied(at time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.emptied = at
}

// wasIntact notes that Redis was found not emptied at that time.
func (ps *Peers) wasIntact(at time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.intact = at
}

// lastIntact returns when Redis was last found not emptied.
func (ps *Peers) lastIntact() time.Time {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.intact
}

// Recent returns the last result of Living or of the Watch, unless it is older than age. It makes
// no call.
func (ps *Peers) Recent(age time.Duration) (ids []string, ok bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.c.now().Sub(ps.at) > age {
		return nil, false
	}
	ids = []string{ps.c.id}
	for m := range ps.living {
		if !slices.Contains(ids, m.node) {
			ids = append(ids, m.node)
		}
	}
	return ids, true
}

// Nodes lists the ids of the nodes that live, or that are not cleaned up after yet, each once.
func (ps *Peers) Nodes(ctx context.Context) ([]string, error) {
	list, err := ps.c.listMembers(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	seen := map[string]bool{}
	for _, m := range list {
		if !seen[m.node] {
			seen[m.node] = true
			ids = append(ids, m.node)
		}
	}
	return ids, nil
}

// Heard notes that another node has just sent a message. The node counts as living until the next
// look at Redis and, if Redis was emptied, for the time of a lease.
func (ps *Peers) Heard(id string) {
	ps.company(ps.c.now())
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for m := range ps.living {
		if m.node == id {
			return
		}
	}
	if ps.living == nil {
		ps.living = map[member]bool{}
	}
	ps.living[member{node: id}] = true
}

// company notes that another node has a lease.
func (ps *Peers) company(at time.Time) { ps.companyAt.Store(&at) }

// aboutTime is how long a node's description stays. It outlives the lease, so that the description
// of a dead node is known too.
const aboutTime = time.Hour

// Sign is a node's last sign of life.
type Sign struct {
	Node   string
	Living bool          // the node has a lease
	Age    time.Duration // age of the sign; < 0 = not known
	About  []byte        // Config.About of the node; nil = none
}

// Signs lists the nodes that live, including this one, or that are not cleaned up after yet, each
// once, by id. It costs two round trips.
func (ps *Peers) Signs(ctx context.Context) ([]Sign, error) {
	list, err := ps.c.listMembers(ctx)
	if err != nil {
		return nil, err
	}
	type state struct {
		lease, about *redis.DurationCmd
		said         *redis.StringCmd
	}
	states := make([]state, len(list))
	err = ps.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, m := range list {
			states[i] = state{p.PTTL(ctx, ps.c.keys.lease(m)), p.PTTL(ctx, ps.c.keys.about(m)), p.Get(ctx, ps.c.keys.about(m))}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look for nodes: %w", err)
	}
	signs := make([]Sign, 0, len(list))
	for i, m := range list {
		lease, about := states[i].lease.Val(), states[i].about.Val()
		s := Sign{Node: m.node, Living: lease > 0, Age: -1}
		switch { // a missing key has a time below zero
		case about > 0:
			s.Age = max(aboutTime-about, 0)
		case lease > 0:
			s.Age = max(ps.c.lease-lease, 0)
		}
		if said, err := states[i].said.Bytes(); err == nil {
			s.About = said
		}
		signs = append(signs, s)
	}
	// While an earlier incarnation of a node is being cleaned up, the living one counts.
	slices.SortStableFunc(signs, func(x, y Sign) int {
		switch {
		case x.Node != y.Node:
			return cmp.Compare(x.Node, y.Node)
		case x.Living != y.Living:
			return map[bool]int{true: -1, false: 1}[x.Living]
		}
		return cmp.Compare(x.Age, y.Age)
	})
	return slices.CompactFunc(signs, func(x, y Sign) bool { return x.Node == y.Node }), nil
}
