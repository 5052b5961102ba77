package ask

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// peers caches the other nodes, as Redis listed them last. A caller that finds the list too old
// starts a look-up, or joins the running one, and waits for it as long as its own context. A
// failure is cached too, so that calls during an outage of Redis do not wait one after the other.
// While Redis is slow, the list of cluster's watch is used (Members.Recent).
type peers struct {
	mu      sync.Mutex
	ids     []string
	failed  bool          // the last look-up failed, and ids are older
	at      time.Time     // end of the last look-up
	looking chan struct{} // closed at the end of the running look-up; nil = none runs
	noted   []string      // senders of questions, which the last look-up may lack
}

// peersTime is how long the result of a look-up, or its failure, is used.
const peersTime = time.Second

// Peers returns the ids of the other nodes. With ErrPartial they are the last known ones.
func (n *Nodes) Peers(ctx context.Context) (ids []string, err error) {
	if n.cfg.Alone {
		return nil, nil
	}
	p := &n.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { ids = p.with(ids) }()
	if p.at.IsZero() || time.Since(p.at) >= peersTime {
		if p.looking == nil {
			p.looking = make(chan struct{})
			go n.lookForPeers(p.looking)
		}
		looking, failed := p.looking, p.failed
		p.mu.Unlock()
		slow := time.NewTimer(n.cfg.Timeout / 10)
		defer slow.Stop()
		select {
		case <-looking:
		case <-slow.C: // the remaining time is the question's
			ids, ok := n.cfg.Members().Recent(2 * peersTime)
			if ok && !failed {
				p.mu.Lock()
				return slices.DeleteFunc(ids, func(id string) bool { return id == n.cfg.Node }), nil
			}
			select {
			case <-looking:
			case <-ctx.Done():
				err = ErrPartial
			}
		case <-ctx.Done():
			err = ErrPartial
		}
		p.mu.Lock()
		if err != nil {
			return p.ids, fmt.Errorf("find the other nodes: %w", err)
		}
	}
	if p.failed {
		return p.ids, fmt.Errorf("find the other nodes: %w", ErrPartial)
	}
	return p.ids, nil
}

// lookForPeers asks Redis, at most for Timeout. No caller's context ends it, since others share it.
func (n *Nodes) lookForPeers(done chan struct{}) {
	defer close(done)
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Timeout)
	defer cancel()
	p := &n.peers
	p.mu.Lock()
	known := len(p.noted) // these entered the list before they sent anything
	p.mu.Unlock()
	ids, err := n.cfg.Members().Living(ctx)
	p.mu.Lock()
	failed := p.failed
	if err == nil {
		p.noted = p.noted[known:]
		p.ids = slices.DeleteFunc(ids, func(id string) bool { return id == n.cfg.Node })
	}
	p.failed, p.at, p.looking = err != nil, time.Now(), nil
	p.mu.Unlock()
	if err != nil && !failed {
		n.cfg.Log.Warn("the other nodes cannot be looked for; calls answer for this one", zap.Error(err))
	}
}

// maxNoted limits the nodes that are noted between two look-ups.
const maxNoted = 1000

// note adds the sender of a question: it may have started after the last look-up.
func (p *peers) note(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.ids, id) && !slices.Contains(p.noted, id) && len(p.noted) < maxNoted {
		p.noted = append(p.noted, id)
	}
}

// with adds the noted nodes to ids. mu is held.
func (p *peers) with(ids []string) []string {
	for _, id := range p.noted {
		if !slices.Contains(ids, id) {
			ids = append(slices.Clip(ids), id)
		}
	}
	return ids
}

// close waits for the running look-up.
func (p *peers) close() {
	p.mu.Lock()
	looking := p.looking
	p.mu.Unlock()
	if looking != nil {
		<-looking
	}
}
