package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// Watch declares nodes dead whose lease is gone, and has the Sweeper clean up after them.
type Watch struct {
	c         *client
	lease     *Lease
	peers     *Peers
	sweeper   *Sweeper
	onCleaned func() // called after the clean-up of a node
}

// Run looks for dead nodes until the node stops.
func (wa *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(wa.lease.every / 4)
	defer tick.Stop()
	doubted := map[member]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := wa.look(ctx, doubted); err != nil {
			// Every lease may have run out in an outage, so time counts only while Redis answers.
			clear(doubted)
			if ctx.Err() == nil {
				wa.c.log.Debug("look for dead nodes", zap.Error(err))
			}
		}
	}
}

func (wa *Watch) look(ctx context.Context, doubted map[member]time.Time) error {
	if !wa.lease.holds() {
		clear(doubted) // this node's own lease comes first
		return nil
	}
	dead, err := wa.deadMembers(ctx, doubted)
	if err != nil {
		return err
	}
	for _, m := range dead {
		done, err := wa.sweeper.sweep(ctx, m, nil)
		if err != nil {
			return err
		}
		if done {
			wa.onCleaned()
		}
	}
	return nil
}

// deadMembers returns the members to clean up after. It declares a member dead whose lease was
// missing for longer than a living member needs to refresh it, while Redis answered all the time.
func (wa *Watch) deadMembers(ctx context.Context, doubted map[member]time.Time) ([]member, error) {
	type state struct {
		m                member
		leased, declared *redis.IntCmd
	}
	list, err := wa.c.listMembers(ctx)
	if err != nil {
		return nil, err
	}
	var states []state
	err = wa.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		p.Del(ctx, wa.c.keys.asked(wa.c.self())) // this node lives
		for _, m := range list {
			if m != wa.c.self() {
				states = append(states, state{m, p.Exists(ctx, wa.c.keys.lease(m)), p.Exists(ctx, wa.c.keys.dead(m))})
			}
		}
	})
	if err != nil {
		return nil, err
	}
	now := wa.c.now()
	seen, gone := map[member]bool{}, map[member]bool{}
	var dead []member
	for _, s := range states {
		seen[s.m] = true
		gone[s.m] = s.declared.Val() == 1
		if s.leased.Val() == 1 && s.m.node != wa.c.id {
			wa.peers.company(now)
		}
		switch since, before := doubted[s.m]; {
		case s.declared.Val() == 1:
			dead = append(dead, s.m)
		case s.leased.Val() == 1:
			delete(doubted, s.m)
		case !before:
			doubted[s.m] = now
		case now.Sub(since) >= wa.lease.every+wa.c.timeout:
			if ok, err := wa.declare(ctx, s.m); err != nil {
				return nil, err
			} else if ok {
				dead = append(dead, s.m)
				wa.c.log.Warn("a node is dead; its connections are cleaned up", zap.String("node", s.m.node))
			}
			delete(doubted, s.m)
		}
	}
	for m := range doubted {
		if !seen[m] {
			delete(doubted, m)
		}
	}
	wa.peers.known(list, gone)
	return dead, nil
}

func (wa *Watch) declare(ctx context.Context, m member) (bool, error) {
	answer, err := call(wa.c, ctx, func(ctx context.Context) (int64, error) {
		return wa.c.redis.Eval(ctx, declareDead, []string{wa.c.keys.lease(m), wa.c.keys.dead(m)}, deadTime.Milliseconds()).Int64()
	})
	if err != nil {
		return false, fmt.Errorf("declare %s dead: %w", m.node, err)
	}
	return answer == 1, nil
}
