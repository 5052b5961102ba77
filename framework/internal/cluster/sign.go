package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// aboutTime is how long what a node said of itself stays: longer than its lease, so that of a dead one it is known too.
const aboutTime = time.Hour

// Sign is a node's last sign of life.
type Sign struct {
	Node   string
	Living bool          // it has a lease
	Age    time.Duration // of the sign; < 0: not known
	About  []byte        // what the node said of itself with it (Config.About); nil: nothing
}

// Signs lists the nodes that have a lease, this one among them, or whose connections are not cleaned up yet; each once, by id. It
// costs two round trips.
func (n *Node) Signs(ctx context.Context) ([]Sign, error) {
	list, err := n.listMembers(ctx)
	if err != nil {
		return nil, err
	}
	type state struct {
		lease, about *redis.DurationCmd
		said         *redis.StringCmd
	}
	states := make([]state, len(list))
	err = n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, m := range list {
			states[i] = state{p.PTTL(ctx, n.keys.lease(m)), p.PTTL(ctx, n.keys.about(m)), p.Get(ctx, n.keys.about(m))}
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
			s.Age = max(n.cfg.Lease-lease, 0)
		}
		if said, err := states[i].said.Bytes(); err == nil {
			s.About = said
		}
		signs = append(signs, s)
	}
	// Of a node that came back while its earlier incarnation is being cleaned up, the living one counts.
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
