package ask

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// peers are the nodes beside this one, as Redis named them last. Whoever finds the list too old has Redis asked, and waits for that
// as long as it likes; there is one such lookup at a time, and it is shared. That it failed is remembered as well, so that calls made
// while Redis is away do not wait one after the other. Where Redis is slow, what the watch over the others has found does as well.
type peers struct {
	mu      sync.Mutex
	ids     []string
	failed  bool          // the last lookup; ids are those of before
	at      time.Time     // of the end of the last lookup
	looking chan struct{} // closed at the end of the lookup under way; nil = there is none
	noted   []string      // nodes that have spoken since the last lookup began, and that it may not have found
}

// peersTime is for how long the result of a lookup is good, and for how long its failure is not repeated.
const peersTime = time.Second

// Peers are the nodes beside this one. Beside ErrPartial they are those that were known before.
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
		case <-slow.C: // the question needs the rest of the time
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

// lookForPeers asks Redis, for Timeout at most. Nobody's own ctx ends it: others wait for it too.
func (n *Nodes) lookForPeers(done chan struct{}) {
	defer close(done)
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Timeout)
	defer cancel()
	p := &n.peers
	p.mu.Lock()
	known := len(p.noted) // these had entered the list before they spoke
	p.mu.Unlock()
	ids, err := n.cfg.Members().Living(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.noted = p.noted[known:]
		p.ids = slices.DeleteFunc(ids, func(id string) bool { return id == n.cfg.Node })
	} else if !p.failed {
		n.cfg.Log.Warn("the other nodes cannot be looked for; calls answer for this one", zap.Error(err))
	}
	p.failed, p.at, p.looking = err != nil, time.Now(), nil
}

// maxNoted bounds the nodes that speak between two lookups.
const maxNoted = 1000

// note has a node asked that has just spoken: it may have started since the last lookup.
func (p *peers) note(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.ids, id) && !slices.Contains(p.noted, id) && len(p.noted) < maxNoted {
		p.noted = append(p.noted, id)
	}
}

// with adds the noted nodes to those that were found; mu is held.
func (p *peers) with(ids []string) []string {
	for _, id := range p.noted {
		if !slices.Contains(ids, id) {
			ids = append(slices.Clip(ids), id)
		}
	}
	return ids
}

// close waits for a lookup under way.
func (p *peers) close() {
	p.mu.Lock()
	looking := p.looking
	p.mu.Unlock()
	if looking != nil {
		<-looking
	}
}
