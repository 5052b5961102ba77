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

// Peers are the other nodes, as Redis and they themselves tell of them.
type Peers struct {
	c *client

	companyAt atomic.Pointer[time.Time] // when another node was last seen to have a lease

	mu      sync.Mutex      // a leaf
	living  map[member]bool // that may live, as Redis said last
	at      time.Time       // when it did
	emptied time.Time       // when Redis was last found to have been emptied
	intact  time.Time       // when it was last asked and had not been
}

// Living lists the ids of the nodes that may have connections, this one among them, each once:
// those that have entered the list and have neither left it nor been declared dead. A Redis that
// was emptied has not said of anybody that it left: who was listed before has a lease's time to
// enter again. It costs two round trips.
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

// known notes which members Redis lists, and which of them are dead, and gives those that may live.
func (ps *Peers) known(list []member, dead map[member]bool) map[member]bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	now := ps.c.now()
	if !slices.Contains(list, ps.c.self()) {
		ps.emptied = now // its next sign of life will tell the same
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

// wasEmptied notes that Redis had forgotten everything at that time.
func (ps *Peers) wasEmptied(at time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.emptied = at
}

// wasIntact notes that it had not.
func (ps *Peers) wasIntact(at time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.intact = at
}

// lastIntact is when Redis was last asked and had not been emptied.
func (ps *Peers) lastIntact() time.Time {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.intact
}

// Recent is what Living gave, or the watch over the others found, where that is at most so old. It
// asks nobody.
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

// Nodes lists the ids of the nodes that have a lease, or whose connections are not cleaned up yet,
// each once.
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

// Heard tells that another node has just spoken. Until Redis is next asked it counts as living, and
// where Redis was emptied meanwhile for a lease.
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

// aboutTime is how long what a node said of itself stays: longer than its lease, so that of a dead
// one it is known too.
const aboutTime = time.Hour

// Sign is a node's last sign of life.
type Sign struct {
	Node   string
	Living bool          // it has a lease
	Age    time.Duration // of the sign; < 0: not known
	About  []byte        // what the node said of itself with it (Config.About); nil: nothing
}

// Signs lists the nodes that have a lease, this one among them, or whose connections are not
// cleaned up yet; each once, by id. It costs two round trips.
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
		switch { // a missing key's is below zero
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
	// Of a node that came back while its earlier incarnation is being cleaned up, the living one
	// counts.
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
