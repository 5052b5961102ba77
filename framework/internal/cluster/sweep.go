package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// claimTime is how long a claim lasts that its owner does not extend. Orphan has half of it.
const claimTime = 15 * time.Second

// sweepAtOnce is how many connections share the round trips of a sweep. Where Redis is slow there are fewer, down to an eighth.
const sweepAtOnce = pipeline / 4

// ran is the claim of a connection whose Orphan has returned: only its keys are left to remove.
const ran = "ran"

const (
	takeClaim = `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`
	setFlag = `
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`
	extendClaim = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`
	endClaim    = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`
)

func (n *Node) ifMine(ctx context.Context, script, key string, args ...any) (bool, error) {
	answer, err := call(n, ctx, func(ctx context.Context) (int64, error) {
		return n.cfg.Client.Eval(ctx, script, []string{key}, append([]any{n.token}, args...)...).Int64()
	})
	if err != nil {
		return false, fmt.Errorf("claim %s: %w", key, err)
	}
	return answer == 1, nil
}

// eachIfMine is ifMine for the claims of several connections, in one round trip.
func (n *Node) eachIfMine(ctx context.Context, script string, list []*dying, args ...any) ([]bool, error) {
	answers := make([]*redis.Cmd, len(list))
	err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, d := range list {
			answers[i] = p.Eval(ctx, script, []string{d.claim}, append([]any{n.token}, args...)...)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("claim %d dead connections: %w", len(list), err)
	}
	mine := make([]bool, len(list))
	for i, answer := range answers {
		mine[i] = isOne(answer)
	}
	return mine, nil
}

func isOne(answer *redis.Cmd) bool {
	number, err := answer.Int64()
	return err == nil && number == 1
}

// sweepUntilDone repeats sweep until the member, or those of its connections, are cleaned up by anybody.
func (n *Node) sweepUntilDone(m member, only map[string]bool) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		done, err := n.sweep(n.ctx, m, only)
		if done || n.ctx.Err() != nil {
			return
		}
		if err != nil {
			n.cfg.Log.Warn("dead connections cannot be cleaned up yet", zap.Error(err))
		}
		select {
		case <-time.After(pause):
		case <-n.ctx.Done():
			return
		}
	}
}

// sweep cleans up after a dead member, or after some of its connections, unless another node is at it. done = nothing is
// left to do.
func (n *Node) sweep(ctx context.Context, m member, only map[string]bool) (done bool, err error) {
	n.sweeping.Lock()
	defer n.sweeping.Unlock()
	begun, count := n.cfg.Now(), 0
	claim := n.keys.sweep(m)
	mine, err := n.ifMine(ctx, takeClaim, claim, n.cfg.Claim.Milliseconds())
	if err == nil && !mine {
		mine, err = n.ifMine(ctx, extendClaim, claim, n.cfg.Claim.Milliseconds()) // from an attempt that failed
	}
	if err != nil || !mine {
		return false, err
	}
	defer func() {
		if _, e := n.ifMine(ctx, endClaim, claim); err == nil {
			err = e
		}
		n.swept.Add(int64(count))
		if count > 0 {
			n.cfg.Log.Info("cleaned up dead connections", zap.String("node", m.node), zap.Int("connections", count), zap.Duration("took", n.cfg.Now().Sub(begun)))
		}
	}()
	for {
		fds, err := n.members(ctx, n.keys.fds(m))
		if err != nil {
			return false, err
		}
		if only != nil {
			fds = slices.DeleteFunc(fds, func(fd string) bool { return !only[fd] })
		}
		if len(fds) == 0 {
			return true, n.bury(ctx, m, only)
		}
		before := count
		for chunk := range slices.Chunk(fds, n.sweepBatch) {
			if mine, err := n.ifMine(ctx, extendClaim, claim, n.cfg.Claim.Milliseconds()); err != nil || !mine {
				return false, err
			}
			swept, err := n.sweepSome(ctx, m, chunk)
			count += swept
			if err != nil {
				n.sweepBatch = max(n.sweepBatch/2, sweepAtOnce/8)
				return false, err
			}
		}
		if count == before {
			return false, nil // others hold the rest
		}
	}
}

// bury takes a member off the list whose connections are all cleaned up.
func (n *Node) bury(ctx context.Context, m member, only map[string]bool) error {
	if only != nil || m.inc == "" {
		return nil
	}
	return n.write(ctx, func(ctx context.Context, p *plan) {
		p.forget.Del(ctx, n.keys.mark(m), n.keys.about(m))
		p.unlist.SRem(ctx, n.keys.nodes(), m.String())
		if m.node == n.cfg.NodeID { // its process ended for certain, or is this one
			p.unlist.Del(ctx, n.keys.dead(m))
		}
	})
}

// dying is a connection that is being cleaned up.
type dying struct {
	Entry
	name, claim string
	mine        *redis.Cmd
	owner       *redis.StringCmd
	listed      *redis.BoolCmd
	fresh       bool // claimed just now
}

// sweepSome cleans up those of the fds that it can claim, and returns how many.
func (n *Node) sweepSome(ctx context.Context, m member, fds []string) (int, error) {
	begun := n.cfg.Now()
	list, err := n.claim(ctx, m, fds)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	if err := n.tellAll(ctx, list, begun); err != nil {
		return 0, err
	}
	list = slices.DeleteFunc(list, func(d *dying) bool { return d.name == "" })
	gone := make([]Entry, len(list))
	for i, d := range list {
		gone[i] = d.Entry
	}
	if err := n.lose(ctx, gone, func(int64) *Entry { return nil }); err != nil {
		return 0, err
	}
	err = n.write(ctx, func(ctx context.Context, p *plan) {
		for _, d := range list {
			n.removeTraces(ctx, p, &d.Entry)
		}
	})
	if err != nil {
		return 0, err
	}
	// Only now: what is not listed is not found again. The claim goes after that, or somebody could claim it anew.
	err = n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for _, d := range list {
			p.SRem(ctx, n.keys.fds(m), d.name)
			p.Del(ctx, d.claim)
		}
	})
	if err != nil {
		return 0, err
	}
	for _, d := range list {
		delete(n.told, d.claim)
	}
	return len(list), nil
}

// claim gives those of the connections that are this process's to clean up, with what Redis knows of them.
func (n *Node) claim(ctx context.Context, m member, fds []string) ([]*dying, error) {
	list := make([]*dying, len(fds))
	err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for i, fd := range fds {
			d := &dying{name: fd, claim: n.keys.claim(m, fd)}
			d.mine = p.Eval(ctx, takeClaim, []string{d.claim}, n.token, n.cfg.Claim.Milliseconds())
			d.owner = p.Get(ctx, d.claim)
			d.listed = p.SIsMember(ctx, n.keys.fds(m), fd)
			list[i] = d
		}
	})
	if err != nil {
		return nil, err
	}
	var gone []*dying
	list = slices.DeleteFunc(list, func(d *dying) bool {
		if d.fresh = isOne(d.mine); d.fresh && !d.listed.Val() { // another has just finished it
			gone = append(gone, d)
			return true
		}
		return d.owner.Val() != n.token && d.owner.Val() != ran
	})
	numbers := make([]int64, len(list))
	for i, d := range list {
		numbers[i], _ = strconv.ParseInt(d.name, 10, 64) // 0 for what is not ours: there is nothing of it
	}
	entries, err := n.read(ctx, numbers)
	if err != nil {
		return nil, err
	}
	for i, d := range list {
		d.Entry = entries[i]
	}
	if len(gone) > 0 {
		if _, err := n.eachIfMine(ctx, endClaim, gone); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// tellAll runs Orphan for the connections of which that is not known to have happened, and marks each one. The marks are written
// while the next ones run, so that not each of them waits for a round trip. Connections whose claim was lost lose their name.
func (n *Node) tellAll(ctx context.Context, list []*dying, claimed time.Time) (err error) {
	told, marked := make(chan string, len(list)), make(chan error, 1)
	go func() { marked <- n.mark(ctx, told) }()
	defer func() {
		close(told)
		if e := <-marked; err == nil {
			err = e
		}
	}()
	if claimed, err = n.extend(ctx, list, func(d *dying) bool { return !d.fresh }, claimed); err != nil {
		return err
	}
	for i, d := range list {
		if d.owner.Val() == ran || d.name == "" {
			continue
		}
		if n.cfg.Now().Sub(claimed) > n.cfg.Claim/3 {
			if claimed, err = n.extend(ctx, list[i:], func(*dying) bool { return true }, n.cfg.Now()); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(marked) > 0 { // Redis is away
			return nil
		}
		if d.name != "" && !n.told[d.claim] {
			n.tell(ctx, d)
		}
		if d.name != "" {
			told <- d.claim
		}
	}
	return nil
}

// extend renews the claims of those that are still to be told, and gives the time since which all of the others' hold.
func (n *Node) extend(ctx context.Context, list []*dying, which func(*dying) bool, since time.Time) (time.Time, error) {
	var old []*dying
	for _, d := range list {
		if d.owner.Val() != ran && !n.told[d.claim] && d.name != "" && which(d) {
			old = append(old, d)
		}
	}
	if len(old) == 0 {
		return since, nil
	}
	mine, err := n.eachIfMine(ctx, extendClaim, old, n.cfg.Claim.Milliseconds())
	for i, d := range old {
		if err == nil && !mine[i] {
			d.name = "" // another's now
		}
	}
	return since, err
}

// mark notes which connections' Orphan has run, those together that were told since the last round trip.
func (n *Node) mark(ctx context.Context, told <-chan string) error {
	for claim := range told {
		claims := []string{claim}
		for range len(told) {
			claims = append(claims, <-told)
		}
		err := n.exec(ctx, func(ctx context.Context, p redis.Pipeliner) {
			for _, claim := range claims {
				p.Eval(ctx, setFlag, []string{claim}, ran, deadTime.Milliseconds())
			}
		})
		if err != nil {
			return fmt.Errorf("note that the listeners of dead connections were told: %w", err)
		}
	}
	return nil
}

// tell runs Orphan. What has neither an identity nor a listener was never completely opened.
func (n *Node) tell(ctx context.Context, d *dying) {
	n.told[d.claim] = true
	if n.cfg.Orphan == nil || len(d.Auth) == 0 && len(d.Listeners) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Claim/2)
	defer cancel()
	n.cfg.Orphan(ctx, d.Entry)
}

// Settle says that the previous worker of a reload has ended: whatever of this node's connections was neither taken over
// nor is live here was left behind by it, and is cleaned up now.
func (n *Node) Settle() {
	n.restMu.Lock()
	adopted := n.adopted
	n.adopted = nil
	n.restMu.Unlock()
	if adopted == nil {
		return
	}
	n.fdMu.Lock()
	if !n.stopped {
		n.work.Go(func() { n.settle(adopted) })
	}
	n.fdMu.Unlock()
	select {
	case n.kick <- struct{}{}: // the old worker may have taken the lease with it
	default:
	}
}

func (n *Node) settle(adopted map[int64]bool) {
	for {
		rest, err := n.leftBehind(adopted)
		if err == nil {
			n.restMu.Lock()
			n.rest = rest
			n.settled.Store(true)
			n.restMu.Unlock()
			n.sweepRest(n.self(), rest)
			return
		}
		select {
		case <-time.After(time.Second):
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) sweepRest(m member, rest map[string]bool) {
	if len(rest) == 0 {
		return
	}
	n.sweepUntilDone(m, maps.Clone(rest))
	n.restMu.Lock()
	n.rest = nil
	n.restMu.Unlock()
}

func (n *Node) leftBehind(adopted map[int64]bool) (map[string]bool, error) {
	known, err := n.members(n.ctx, n.keys.fds(n.self()))
	if err != nil {
		return nil, err
	}
	alive, rest := n.alive(), map[string]bool{}
	for _, name := range known {
		if fd, err := strconv.ParseInt(name, 10, 64); err == nil && fd < n.first && !adopted[fd] && !alive(fd) {
			rest[name] = true
		}
	}
	return rest, nil
}

// orphaned tells whether the sweep of leftovers has that connection: its listeners are still to be told.
func (n *Node) orphaned(fd int64) bool {
	n.restMu.Lock()
	defer n.restMu.Unlock()
	return n.rest[str(fd)]
}
