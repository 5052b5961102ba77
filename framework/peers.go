package framework

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
}

// peersTime is for how long the result of a lookup is good, and for how long its failure is not repeated.
const peersTime = time.Second

// others are the nodes beside this one. Beside ErrPartial they are those that were known before.
func (a *App) others(ctx context.Context) ([]string, error) {
	if a.alone {
		return nil, nil
	}
	p := &a.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at.IsZero() || time.Since(p.at) >= peersTime {
		if p.looking == nil {
			p.looking = make(chan struct{})
			go a.lookForPeers(p.looking)
		}
		looking, failed := p.looking, p.failed
		p.mu.Unlock()
		slow := time.NewTimer(a.askTime / 10)
		defer slow.Stop()
		var err error
		select {
		case <-looking:
		case <-slow.C: // the question needs the rest of the time
			ids, ok := a.node.Recent(2 * peersTime)
			if ok && !failed {
				p.mu.Lock()
				return slices.DeleteFunc(ids, func(id string) bool { return id == a.nodeID }), nil
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

// lookForPeers asks Redis, for askTime at most. Nobody's own ctx ends it: others wait for it too.
func (a *App) lookForPeers(done chan struct{}) {
	defer close(done)
	ctx, cancel := context.WithTimeout(context.Background(), a.askTime)
	defer cancel()
	ids, err := a.node.Living(ctx)
	p := &a.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.ids = slices.DeleteFunc(ids, func(id string) bool { return id == a.nodeID })
	} else if !p.failed {
		a.log.Warn("the other nodes cannot be looked for; calls answer for this one", zap.Error(err))
	}
	p.failed, p.at, p.looking = err != nil, time.Now(), nil
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
