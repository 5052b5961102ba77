package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework/internal/backoff"
)

// errDeposed is returned when this node was declared dead.
var errDeposed = errors.New("this node was declared dead while it did not show a sign of life")

// The scripts of leases run on a Redis without memory, like those of client.go.
//
// The value of a lease is the worker that has acquired it last. During a reload that is the new
// worker, and the old one only extends the lease.
const (
	acquireLease = `
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
)

// Lease shows the other nodes that this one lives, and holds its id.
type Lease struct {
	c           *client
	peers       *Peers
	numbers     *Numbers
	silence     time.Duration // time without an answer of Redis after which the node is isolated
	every       time.Duration // between two refreshes
	where       string        // Config.Place
	about       func() []byte // Config.About
	onChange    func()        // called when lost or forgotten was set
	onReachable func()        // called when Redis answers again

	turn        turn                      // one refresh at a time
	refreshed   atomic.Pointer[time.Time] // when the last successful refresh began
	nameTaken   atomic.Bool               // another server has this node's id
	forgotten   atomic.Bool               // Redis was emptied and must be filled again
	lost        atomic.Bool               // declared dead, and not yet another incarnation
	unreachable atomic.Bool               // Redis did not answer the last call
	kick        chan struct{}             // requests a refresh

	mu        sync.Mutex    // a leaf
	reachable chan struct{} // closed and replaced when Redis answers
}

// setReachable notes whether Redis has just answered, and wakes the goroutines that wait for that.
func (l *Lease) setReachable(answered bool) {
	was := l.unreachable.Swap(!answered)
	if !answered {
		return
	}
	if was {
		l.onReachable()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.reachable)
	l.reachable = make(chan struct{})
}

// untilReachable returns a channel that is closed when Redis answers.
func (l *Lease) untilReachable() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reachable
}

// holds reports, without a call, that no other node can have declared this one dead yet. It uses
// two clocks: the monotonic one may stand still while the machine sleeps, the other one may be set.
func (l *Lease) holds() bool {
	at := l.refreshed.Load()
	if at == nil {
		return false
	}
	now := l.c.now()
	return max(now.Sub(*at), now.Round(0).Sub(at.Round(0))) < l.silence
}

// acquire acquires or extends the member's lease. A missing mark of the member shows that Redis was
// emptied.
func (l *Lease) acquire(ctx context.Context, m member, first bool) error {
	k, begun := l.c.keys, l.c.now()
	flag := "0"
	if first {
		flag = "1"
	}
	var about []byte
	if l.about != nil {
		about = l.about()
	}
	answer, err := call(l.c, ctx, func(ctx context.Context) (int64, error) {
		return l.c.redis.Eval(ctx, acquireLease, []string{k.lease(m), k.dead(m), k.mark(m), k.about(m), k.holder(m)},
			l.c.token, l.c.lease.Milliseconds(), flag, about, aboutTime.Milliseconds(), l.holder(m)).Int64()
	})
	if err != nil {
		return fmt.Errorf("show a sign of life: %w", err)
	}
	if answer < 0 {
		return errDeposed
	}
	switch {
	case answer == 1 && !first:
		l.peers.wasEmptied(begun)
		l.forgotten.Store(true)
		l.onChange()
	case !l.forgotten.Load():
		l.peers.wasIntact(begun)
	}
	if err = l.c.enter(ctx, m); err != nil {
		return fmt.Errorf("enter the list of nodes: %w", err)
	}
	l.refreshed.Store(&begun)
	return nil
}

// refresh extends the lease, or pings the store without one.
func (l *Lease) refresh(ctx context.Context) error {
	if err := l.turn.acquire(ctx); err != nil {
		return err
	}
	defer l.turn.release()
	err := l.reacquire(ctx)
	l.setReachable(err == nil)
	return err
}

func (l *Lease) reacquire(ctx context.Context) error {
	if !l.c.leased() {
		return l.ping(ctx)
	}
	if l.lost.Load() {
		return nil
	}
	if at := l.refreshed.Load(); at != nil && l.c.now().Round(0).Sub(at.Round(0)) > deadTime/2 {
		l.depose()
		return nil
	}
	err := l.acquire(ctx, l.c.self(), false)
	if errors.Is(err, errDeposed) {
		l.depose()
		return nil
	}
	if err != nil {
		return err
	}
	return l.numbers.check(ctx)
}

func (l *Lease) depose() {
	l.lost.Store(true)
	l.onChange()
}

// start gives this process its incarnation, and acquires its lease. During a reload the incarnation
// is the previous worker's.
func (l *Lease) start(ctx context.Context, reload bool) (member, error) {
	m := member{node: l.c.id}
	if !l.c.leased() {
		l.c.place.Store(&m)
		now := l.c.now() // the store has answered
		l.refreshed.Store(&now)
		return m, nil
	}
	if reload {
		var err error
		if m, err = l.predecessor(ctx); err != nil {
			return m, err
		}
	}
	if m.inc == "" {
		m.inc = newIncarnation()
	}
	l.c.place.Store(&m)
	if err := l.claimName(ctx, m); err != nil {
		return m, err
	}
	return m, l.acquire(ctx, m, true)
}

// soon requests a refresh.
func (l *Lease) soon() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Run refreshes the lease until the node stops.
func (l *Lease) Run(ctx context.Context) {
	wait := l.every
	short := min(l.c.timeout, l.every)
	tries := backoff.Backoff{Min: short, Max: short} // jitter: all nodes lost the same Redis
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
		case <-time.After(wait):
		}
		if wait = l.every; l.refresh(ctx) != nil {
			wait = tries.Next() // the Writer logs an outage
		}
	}
}

// ping asks whether the store answers, for a node without a lease.
func (l *Lease) ping(ctx context.Context) error {
	begun := l.c.now()
	_, err := call(l.c, ctx, func(ctx context.Context) (string, error) { return l.c.redis.Ping(ctx).Result() })
	if err != nil {
		return fmt.Errorf("ask the store for a sign of life: %w", err)
	}
	l.refreshed.Store(&begun)
	return nil
}

func (l *Lease) release(ctx context.Context) error {
	m := l.c.self()
	empty, err := call(l.c, ctx, func(ctx context.Context) (int64, error) {
		return l.c.redis.Eval(ctx, endLease, []string{l.c.keys.lease(m), l.c.keys.mark(m), l.c.keys.fds(m), l.c.keys.about(m), l.c.keys.holder(m)}, l.c.token, m.inc).Int64()
	})
	if err == nil && empty == 1 {
		err = l.c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) { p.SRem(ctx, l.c.keys.nodes(), m.String()) })
	}
	if err != nil {
		return fmt.Errorf("give the lease back: %w", err)
	}
	return nil
}

// Isolated reports whether this node has not reached Redis for Config.Silence, or another server
// has its id. It makes no call.
func (l *Lease) Isolated() bool { return l.lost.Load() || !l.holds() }

// Accompanied reports whether another node lived during this one's last lease, or has its id by
// now. It makes no call.
func (l *Lease) Accompanied() bool {
	if l.nameTaken.Load() {
		return true
	}
	seen, at := l.peers.companyAt.Load(), l.refreshed.Load()
	return seen != nil && at != nil && at.Sub(*seen) < l.silence
}
