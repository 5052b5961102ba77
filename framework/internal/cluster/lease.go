package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// DefaultLease is how long a node may be silent before others may doubt it.
const DefaultLease = 15 * time.Second

// deadTime is how long the mark of a dead member stays. A process that was frozen for half of it trusts its clock instead.
const deadTime = 24 * time.Hour

// errDeposed says that this node was declared dead.
var errDeposed = errors.New("this node was declared dead while it did not show a sign of life")

// A full Redis refuses a script whose first write needs memory. Those by which nodes live and are cleaned up after begin with a write
// that needs none and changes nothing, so they go on: what they add is small, and cleaning up is what frees memory.
//
// The value of a lease is the worker that took it last: at a reload that is the new one, and the old one extends it only.
const (
	takeLease = `
if redis.call('EXISTS', KEYS[2]) == 1 then return -1 end
local holder = redis.call('GET', KEYS[5])
if holder and string.match(holder, '^%S*') ~= string.match(ARGV[6], '^%S*') then return -1 end
redis.call('PEXPIRE', KEYS[5], ARGV[2])
redis.call('SET', KEYS[5], ARGV[6], 'PX', ARGV[2])
if ARGV[3] == '1' or redis.call('PEXPIRE', KEYS[1], ARGV[2]) == 0 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
if ARGV[4] == '' then redis.call('PEXPIRE', KEYS[4], ARGV[5]) else redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[5]) end
return redis.call('SETNX', KEYS[3], '1')`

	endLease = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if string.match(redis.call('GET', KEYS[5]) or '', '^%S*') == ARGV[2] then redis.call('DEL', KEYS[5]) end
if redis.call('SCARD', KEYS[3]) > 0 then return 0 end
redis.call('DEL', KEYS[2], KEYS[4])
return 1`

	declareDead = `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return 1`

	enterList = `
redis.call('SREM', KEYS[1], '')
return redis.call('SADD', KEYS[1], ARGV[1])`
)

func (n *Node) leased() bool { return n.cfg.Lease > 0 }

// answers notes whether Redis has just answered, and wakes who waits for that.
func (n *Node) answers(does bool) {
	wasAway := n.away.Swap(!does)
	if !does {
		return
	}
	if wasAway {
		n.seekStrays()
	}
	n.answerMu.Lock()
	defer n.answerMu.Unlock()
	close(n.answered)
	n.answered = make(chan struct{})
}

// nextAnswer is closed when Redis answers.
func (n *Node) nextAnswer() <-chan struct{} {
	n.answerMu.Lock()
	defer n.answerMu.Unlock()
	return n.answered
}

// leaseHolds tells, without asking Redis, whether nobody can have declared this node dead yet. Both clocks count: the
// monotonic one can stand still while the machine sleeps, the other one be set.
func (n *Node) leaseHolds() bool {
	at := n.refreshed.Load()
	if at == nil {
		return false
	}
	now := n.cfg.Now()
	return max(now.Sub(*at), now.Round(0).Sub(at.Round(0))) < n.cfg.Silence
}

// take shows that the member lives. Where Redis has lost the member's mark, it has lost everything.
func (n *Node) take(ctx context.Context, m member, first bool) error {
	k, begun := n.keys, n.cfg.Now()
	flag := "0"
	if first {
		flag = "1"
	}
	var about []byte
	if n.cfg.About != nil {
		about = n.cfg.About()
	}
	answer, err := call(n, ctx, func(ctx context.Context) (int64, error) {
		return n.cfg.Client.Eval(ctx, takeLease, []string{k.lease(m), k.dead(m), k.mark(m), k.about(m), k.holder(m)},
			n.token, n.cfg.Lease.Milliseconds(), flag, about, aboutTime.Milliseconds(), n.holder(m)).Int64()
	})
	if err != nil {
		return fmt.Errorf("show a sign of life: %w", err)
	}
	if answer < 0 {
		return errDeposed
	}
	n.peersMu.Lock()
	if answer == 1 && !first {
		n.emptied = begun
		n.forgotten.Store(true)
		n.j.poke()
	} else if !n.forgotten.Load() {
		n.intact = begun
	}
	n.peersMu.Unlock()
	if err = n.enter(ctx, m); err != nil {
		return fmt.Errorf("enter the list of nodes: %w", err)
	}
	n.refreshed.Store(&begun)
	return nil
}

// enter puts a member on the list of those that live or are not cleaned up yet.
func (n *Node) enter(ctx context.Context, m member) error {
	return n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		p.Eval(ctx, enterList, []string{n.keys.nodes()}, m.String())
	})
}

// refresh takes the lease anew.
func (n *Node) refresh(ctx context.Context) error {
	n.leaseMu.Lock()
	defer n.leaseMu.Unlock()
	err := n.retake(ctx)
	n.answers(err == nil)
	return err
}

func (n *Node) retake(ctx context.Context) error {
	if !n.leased() {
		return n.ping(ctx)
	}
	if n.lost.Load() {
		return nil
	}
	if at := n.refreshed.Load(); at != nil && n.cfg.Now().Round(0).Sub(at.Round(0)) > deadTime/2 {
		n.depose()
		return nil
	}
	err := n.take(ctx, n.self(), false)
	if errors.Is(err, errDeposed) {
		n.depose()
		return nil
	}
	if err != nil {
		return err
	}
	return n.watchCounter(ctx)
}

func (n *Node) depose() {
	n.lost.Store(true)
	n.j.poke()
}

// renounce leaves all connections to those who declared this node dead, and goes on as another incarnation.
func (n *Node) renounce(ctx context.Context) error {
	n.leaseMu.Lock()
	defer n.leaseMu.Unlock()
	old := n.self()
	n.cfg.Log.Error("connections are given up", zap.Error(errDeposed))
	// Something may have been written since it was cleaned up.
	if err := n.enter(ctx, old); err != nil {
		return err
	}
	b, err := n.reserve(ctx)
	if err != nil {
		return err
	}
	m := member{n.cfg.NodeID, newIncarnation()}
	err = n.claimName(ctx, m)
	n.nameTaken.Store(errors.Is(err, ErrTaken))
	if err != nil {
		return err
	}
	if err := n.take(ctx, m, true); err != nil {
		return err
	}
	n.fdMu.Lock()
	n.floor.Store(b.next)
	n.j.mu.Lock()
	unheard := n.j.untried()
	n.j.drop()
	n.j.overflow, n.j.lacking = false, nil
	n.j.mu.Unlock()
	n.restMu.Lock()
	maps.Copy(n.unheard, unheard)
	n.restMu.Unlock()
	n.place.Store(&m)
	n.fds, n.spare = b, block{}
	n.fdMu.Unlock()
	n.forgotten.Store(false)
	n.lost.Store(false)
	n.answers(true)
	if n.cfg.Deposed != nil {
		n.work.Go(func() { n.cfg.Deposed(b.next) })
	}
	return nil
}

// Owner tells, without asking, whether the close listeners of a connection that has ended are to be told here. They are not when
// this node was declared dead: whoever did that tells them, but of connections that Redis never heard of. known = false: Redis
// does not answer, so nobody knows what the others have declared, or whether Redis will hear that they were told.
func (n *Node) Owner(fd int64) (mine, known bool) {
	if n.leased() && (n.lost.Load() || n.away.Load() || !n.leaseHolds()) {
		return false, false
	}
	if fd >= n.floor.Load() {
		return true, true
	}
	n.restMu.Lock()
	defer n.restMu.Unlock()
	return n.unheard[fd], true
}

// Owns is Owner that waits, until ctx ends, for Redis to answer.
func (n *Node) Owns(ctx context.Context, fd int64) (bool, error) {
	for {
		answer := n.nextAnswer()
		if mine, known := n.Owner(fd); known {
			return mine, nil
		}
		select {
		case <-answer:
		case <-ctx.Done():
			return false, fmt.Errorf("wait for Redis to say whose %d is: %w", fd, ctx.Err())
		case <-n.ctx.Done():
			return false, fmt.Errorf("wait for Redis to say whose %d is: %w", fd, n.ctx.Err())
		}
	}
}

// Unheard are the connections that Redis has not heard of yet: nobody else can tell their listeners. Of live ones it may hear still.
func (n *Node) Unheard() map[int64]bool {
	n.j.mu.Lock()
	fds := n.j.untried()
	n.j.mu.Unlock()
	n.restMu.Lock()
	defer n.restMu.Unlock()
	maps.Copy(fds, n.unheard)
	return fds
}

// keepLease refreshes the lease, or asks the store for a sign of life, until the node stops.
func (n *Node) keepLease() {
	wait := n.cfg.Refresh
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.kick:
		case <-time.After(wait):
		}
		if wait = n.cfg.Refresh; n.refresh(n.ctx) != nil {
			wait = min(n.cfg.Timeout, n.cfg.Refresh) // the writer says that Redis is away
		}
	}
}

// watch looks for nodes whose lease is gone, and cleans up after them.
func (n *Node) watch() {
	tick := time.NewTicker(n.cfg.Refresh / 4)
	defer tick.Stop()
	doubted := map[member]time.Time{}
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		if err := n.look(n.ctx, doubted); err != nil {
			// After an outage every lease may have run out. Time counts only while Redis answers.
			clear(doubted)
			if n.ctx.Err() == nil {
				n.cfg.Log.Debug("look for dead nodes", zap.Error(err))
			}
		}
	}
}

func (n *Node) look(ctx context.Context, doubted map[member]time.Time) error {
	if !n.leaseHolds() {
		clear(doubted) // first one's own sign of life
		return nil
	}
	dead, err := n.deadMembers(ctx, doubted)
	if err != nil {
		return err
	}
	for _, m := range dead {
		done, err := n.sweep(ctx, m, nil)
		if err != nil {
			return err
		}
		if done {
			n.seekStrays()
		}
	}
	return nil
}

// deadMembers are the members to clean up after. A member is declared dead when its lease was missing for longer than a
// living one needs to renew it, and Redis answered all the time.
func (n *Node) deadMembers(ctx context.Context, doubted map[member]time.Time) ([]member, error) {
	type state struct {
		m              member
		leased, buried *redis.IntCmd
	}
	list, err := n.listMembers(ctx)
	if err != nil {
		return nil, err
	}
	var states []state
	err = n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		p.Del(ctx, n.keys.asked(n.self())) // this node lives
		for _, m := range list {
			if m != n.self() {
				states = append(states, state{m, p.Exists(ctx, n.keys.lease(m)), p.Exists(ctx, n.keys.dead(m))})
			}
		}
	})
	if err != nil {
		return nil, err
	}
	now := n.cfg.Now()
	seen, gone := map[member]bool{}, map[member]bool{}
	var dead []member
	for _, s := range states {
		seen[s.m] = true
		gone[s.m] = s.buried.Val() == 1
		if s.leased.Val() == 1 && s.m.node != n.cfg.NodeID {
			n.company(now)
		}
		switch since, before := doubted[s.m]; {
		case s.buried.Val() == 1:
			dead = append(dead, s.m)
		case s.leased.Val() == 1:
			delete(doubted, s.m)
		case !before:
			doubted[s.m] = now
		case now.Sub(since) >= n.cfg.Refresh+n.cfg.Timeout:
			if ok, err := n.declare(ctx, s.m); err != nil {
				return nil, err
			} else if ok {
				dead = append(dead, s.m)
				n.cfg.Log.Warn("a node is dead; its connections are cleaned up", zap.String("node", s.m.node))
			}
			delete(doubted, s.m)
		}
	}
	for m := range doubted {
		if !seen[m] {
			delete(doubted, m)
		}
	}
	n.known(list, gone)
	return dead, nil
}

func (n *Node) declare(ctx context.Context, m member) (bool, error) {
	answer, err := call(n, ctx, func(ctx context.Context) (int64, error) {
		return n.cfg.Client.Eval(ctx, declareDead, []string{n.keys.lease(m), n.keys.dead(m)}, deadTime.Milliseconds()).Int64()
	})
	if err != nil {
		return false, fmt.Errorf("declare %s dead: %w", m.node, err)
	}
	return answer == 1, nil
}

func (n *Node) listMembers(ctx context.Context) ([]member, error) {
	names, err := n.members(ctx, n.keys.nodes())
	if err != nil {
		return nil, err
	}
	var list []member
	for _, name := range names {
		if m, ok := parseMember(name); ok {
			list = append(list, m)
		}
	}
	return list, nil
}

// Living lists the ids of the nodes that may have connections, this one among them, each once: those that have entered the list and
// have neither left it nor been declared dead. A Redis that was emptied has not said of anybody that it left: who was listed before
// has a lease's time to enter again. It costs two round trips.
func (n *Node) Living(ctx context.Context) ([]string, error) {
	list, err := n.listMembers(ctx)
	if err != nil {
		return nil, err
	}
	buried := make([]*redis.IntCmd, len(list))
	err = n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, m := range list {
			buried[i] = p.Exists(ctx, n.keys.dead(m))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look for living nodes: %w", err)
	}
	dead := map[member]bool{}
	for i, m := range list {
		if buried[i].Val() == 1 {
			dead[m] = true
		}
	}
	ids := []string{n.cfg.NodeID}
	for m := range n.known(list, dead) {
		if !slices.Contains(ids, m.node) {
			ids = append(ids, m.node)
		}
	}
	return ids, nil
}

// known notes which members Redis lists, and which of them are dead, and gives those that may live.
func (n *Node) known(list []member, dead map[member]bool) map[member]bool {
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	now := n.cfg.Now()
	if !slices.Contains(list, n.self()) {
		n.emptied = now // its next sign of life will tell the same
	}
	living := map[member]bool{}
	for _, m := range list {
		living[m] = !dead[m]
	}
	if now.Sub(n.emptied) < n.cfg.Lease {
		for m := range n.peers {
			if _, listed := living[m]; !listed {
				living[m] = true
			}
		}
	}
	maps.DeleteFunc(living, func(_ member, lives bool) bool { return !lives })
	n.peers, n.peersAt = living, now
	return living
}

// Recent is what Living gave, or the watch over the others found, where that is at most so old. It asks nobody.
func (n *Node) Recent(age time.Duration) (ids []string, ok bool) {
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	if n.cfg.Now().Sub(n.peersAt) > age {
		return nil, false
	}
	ids = []string{n.cfg.NodeID}
	for m := range n.peers {
		if !slices.Contains(ids, m.node) {
			ids = append(ids, m.node)
		}
	}
	return ids, true
}

// Nodes lists the ids of the nodes that have a lease, or whose connections are not cleaned up yet, each once.
func (n *Node) Nodes(ctx context.Context) ([]string, error) {
	list, err := n.listMembers(ctx)
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
