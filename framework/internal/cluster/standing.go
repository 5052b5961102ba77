package cluster

import (
	"context"
	"fmt"
	"time"
)

// Isolated tells whether nobody counts on this node any more: it has not reached Redis for Config.Silence, or another server has its
// id. It asks nobody, and ends by itself.
func (n *Node) Isolated() bool { return n.lost.Load() || !n.leaseHolds() }

// Accompanied tells whether another node lived in the time of this one's last lease, or has its id by now. It asks nobody.
func (n *Node) Accompanied() bool {
	if n.nameTaken.Load() {
		return true
	}
	seen, at := n.companyAt.Load(), n.refreshed.Load()
	return seen != nil && at != nil && at.Sub(*seen) < n.cfg.Silence
}

// Heard tells that another node has just spoken. Until Redis is next asked it counts as living, and where Redis was emptied meanwhile
// for a lease.
func (n *Node) Heard(id string) {
	n.company(n.cfg.Now())
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	for m := range n.peers {
		if m.node == id {
			return
		}
	}
	if n.peers == nil {
		n.peers = map[member]bool{}
	}
	n.peers[member{node: id}] = true
}

// company notes that another node has a lease.
func (n *Node) company(at time.Time) { n.companyAt.Store(&at) }

// ping is the sign of life of a node without a lease: it only learns whether the store answers.
func (n *Node) ping(ctx context.Context) error {
	begun := n.cfg.Now()
	_, err := call(n, ctx, func(ctx context.Context) (string, error) { return n.cfg.Client.Ping(ctx).Result() })
	if err != nil {
		return fmt.Errorf("ask the store for a sign of life: %w", err)
	}
	n.refreshed.Store(&begun)
	return nil
}
