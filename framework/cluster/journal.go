package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

type opKind uint8

const (
	opOpened opKind = iota
	opClosed
	opKeyAdded
	opKeyRemoved
	opCloseKeyAdded
	opCloseKeyRemoved
	opListenerAdded
	opListenerRemoved
	opStale
)

// op is one thing that happened. Doing it twice does no harm: a pipeline that timed out may have been executed.
type op struct {
	kind  opKind
	fd    int64
	key   string
	entry *Entry // opened and closed
}

// journal is what Redis does not know yet, in order.
type journal struct {
	max int

	mu       sync.Mutex
	ops      []op
	writing  int  // taken by the writer, not yet in Redis
	overflow bool // ops were dropped: Redis must be compared with what lives
	resyncs  int
	changed  chan struct{} // closed and replaced whenever ops or writing become empty
	wake     chan struct{}
}

func (j *journal) init(max int) {
	j.max = max
	j.changed = make(chan struct{})
	j.wake = make(chan struct{}, 1)
}

func (j *journal) append(o op) {
	j.mu.Lock()
	if len(j.ops) >= j.max {
		j.ops, j.overflow = nil, true
	}
	j.ops = append(j.ops, o)
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Opened notes a new connection.
func (n *Node) Opened(e Entry) { n.j.append(op{kind: opOpened, fd: e.FD, entry: &e}) }

// Closed takes a connection out of all its sets, then removes its bookkeeping.
func (n *Node) Closed(e Entry) { n.j.append(op{kind: opClosed, fd: e.FD, entry: &e}) }

// KeyAdded puts the fd into the set key, and has it removed on close.
func (n *Node) KeyAdded(fd int64, key string) { n.j.append(op{kind: opKeyAdded, fd: fd, key: key}) }

// KeyRemoved undoes KeyAdded.
func (n *Node) KeyRemoved(fd int64, key string) { n.j.append(op{kind: opKeyRemoved, fd: fd, key: key}) }

// CloseKeyAdded has the fd removed from the set key on close; the set itself is the application's.
func (n *Node) CloseKeyAdded(fd int64, key string) {
	n.j.append(op{kind: opCloseKeyAdded, fd: fd, key: key})
}

// CloseKeyRemoved undoes CloseKeyAdded.
func (n *Node) CloseKeyRemoved(fd int64, key string) {
	n.j.append(op{kind: opCloseKeyRemoved, fd: fd, key: key})
}

// ListenerAdded has the controller told of the close.
func (n *Node) ListenerAdded(fd int64, name string) {
	n.j.append(op{kind: opListenerAdded, fd: fd, key: name})
}

// ListenerRemoved undoes ListenerAdded.
func (n *Node) ListenerRemoved(fd int64, name string) {
	n.j.append(op{kind: opListenerRemoved, fd: fd, key: name})
}

// Stale removes the fd of a connection that is gone from a set.
func (n *Node) Stale(fd int64, key string) { n.j.append(op{kind: opStale, fd: fd, key: key}) }

// releaseUID removes a user's entry only while it still points to this connection: a second device may have come since.
const releaseUID = `if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end return 0`

func (n *Node) write(ctx context.Context, p redis.Pipeliner, o *op) {
	fd, k := str(o.fd), n.keys
	switch o.kind {
	case opOpened:
		n.writeEntry(ctx, p, o.entry)
	case opClosed:
		for _, key := range o.entry.Keys {
			p.SRem(ctx, k.prefix+key, fd)
		}
		n.removeEntry(ctx, p, o.entry)
	case opKeyAdded:
		p.SAdd(ctx, k.closing(fd), o.key) // first: a crash in between leaves nothing behind
		p.SAdd(ctx, k.prefix+o.key, fd)
	case opKeyRemoved:
		p.SRem(ctx, k.prefix+o.key, fd)
		p.SRem(ctx, k.closing(fd), o.key)
	case opCloseKeyAdded:
		p.SAdd(ctx, k.closing(fd), o.key)
	case opCloseKeyRemoved:
		p.SRem(ctx, k.closing(fd), o.key)
	case opListenerAdded:
		p.SAdd(ctx, k.listeners(fd), o.key)
	case opListenerRemoved:
		p.SRem(ctx, k.listeners(fd), o.key)
	case opStale:
		p.SRem(ctx, k.prefix+o.key, fd)
	}
}

// writeEntry asserts a live connection: its bookkeeping, and its place in the sets it is in.
func (n *Node) writeEntry(ctx context.Context, p redis.Pipeliner, e *Entry) {
	fd, k := str(e.FD), n.keys
	p.SAdd(ctx, k.own(), fd)
	p.HSet(ctx, k.info(), fd, e.Auth)
	if e.UID != "" {
		p.HSet(ctx, k.uids(), e.UID, fd)
	}
	for _, key := range e.Keys {
		p.SAdd(ctx, k.closing(fd), key)
		p.SAdd(ctx, k.prefix+key, fd)
	}
	for _, name := range e.Listeners {
		p.SAdd(ctx, k.listeners(fd), name)
	}
}

func (n *Node) removeEntry(ctx context.Context, p redis.Pipeliner, e *Entry) {
	fd, k := str(e.FD), n.keys
	p.Del(ctx, k.closing(fd))
	p.Del(ctx, k.listeners(fd))
	if e.UID != "" {
		p.Eval(ctx, releaseUID, []string{k.uids()}, e.UID, fd)
	}
	p.HDel(ctx, k.info(), fd)
	p.SRem(ctx, k.own(), fd)
}

// exec runs a pipeline. Only an error that a repetition may cure is returned; what Redis refused is logged.
func (n *Node) exec(ctx context.Context, fill func(context.Context, redis.Pipeliner)) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	cmds, err := n.cfg.Client.Pipelined(ctx, func(p redis.Pipeliner) error { fill(ctx, p); return nil })
	if err == nil {
		return nil
	}
	refused := 0
	for _, c := range cmds {
		var reply redis.Error
		switch e := c.Err(); {
		case e == nil, errors.Is(e, redis.Nil):
		case errors.As(e, &reply) && !redis.HasErrorPrefix(e, "LOADING") && !redis.HasErrorPrefix(e, "READONLY") &&
			!redis.HasErrorPrefix(e, "MASTERDOWN") && !redis.HasErrorPrefix(e, "CLUSTERDOWN") && !redis.HasErrorPrefix(e, "TRYAGAIN"):
			if refused++; refused == 1 {
				n.cfg.Log.Error("redis refuses a bookkeeping command", zap.String("command", c.FullName()), zap.Error(e))
			}
		default:
			return e
		}
	}
	return nil
}

const batch = 256

// drain writes the journal until the node stops. What Redis does not take is repeated, with growing pauses.
func (n *Node) drain() {
	j := &n.j
	var pause time.Duration
	for {
		j.mu.Lock()
		ops := j.ops[:min(len(j.ops), batch)]
		j.writing = len(ops)
		overflow := j.overflow
		j.mu.Unlock()
		var err error
		switch {
		case overflow:
			err = n.resync()
		case len(ops) > 0:
			err = n.exec(n.ctx, func(ctx context.Context, p redis.Pipeliner) {
				for i := range ops {
					n.write(ctx, p, &ops[i])
				}
			})
		default:
			select {
			case <-j.wake:
				continue
			case <-n.ctx.Done():
				return
			}
		}
		if err != nil {
			if n.ctx.Err() != nil {
				return
			}
			if pause == 0 {
				n.cfg.Log.Warn("redis does not take the bookkeeping; it is kept and repeated", zap.Error(err))
			}
			pause = min(max(2*pause, 20*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-n.ctx.Done():
				return
			}
			continue
		}
		if pause > 0 {
			n.cfg.Log.Info("redis takes the bookkeeping again")
			pause = 0
		}
		j.done(len(ops), overflow)
	}
}

// done takes the written ops out. While they were written the journal may have been dropped; then they are gone already.
func (j *journal) done(written int, resynced bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writing = 0
	switch {
	case resynced:
		j.overflow = false
		j.resyncs++
	case !j.overflow:
		j.ops = j.ops[written:]
	}
	if len(j.ops) == 0 && !j.overflow {
		j.ops = nil
		close(j.changed)
		j.changed = make(chan struct{})
	}
}

// Flush waits until Redis knows everything that happened before the call.
func (n *Node) Flush(ctx context.Context) error {
	for {
		n.j.mu.Lock()
		empty, changed := len(n.j.ops) == 0 && !n.j.overflow, n.j.changed
		n.j.mu.Unlock()
		if empty {
			return nil
		}
		select {
		case <-changed:
			return nil
		case <-ctx.Done():
			return errors.Join(errors.New("redis does not know everything yet"), ctx.Err())
		case <-n.ctx.Done():
			return n.ctx.Err()
		}
	}
}

// Pending is how many operations Redis does not know yet, and how often the journal was dropped and compared.
func (n *Node) Pending() (ops, resyncs int) {
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	return len(n.j.ops), n.j.resyncs
}
