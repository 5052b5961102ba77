package cluster

import (
	"context"
	"maps"
	"slices"
)

// Bookkeeping notes what happens to the connections of this process. It only appends to the
// journal, from which the Writer writes to Redis, so nothing here waits but Flush.
type Bookkeeping struct {
	life      *life
	numbers   *Numbers
	leftovers *Leftovers
	journal   *journal
}

func (b *Bookkeeping) append(o op) {
	if b.numbers.current(o.fd) {
		b.journal.append(o)
	}
}

// Handed notes that the next worker has the connections: those that are not alive here are no
// ghosts.
func (b *Bookkeeping) Handed() {
	b.leftovers.settled.Store(false)
	b.journal.filled(slices.Collect(maps.Keys(b.journal.lacks()))) // the next worker writes them
}

// Adopted notes a connection that this worker has taken over from the previous one, which has
// written all of it to Redis.
func (b *Bookkeeping) Adopted(fd int64) { b.leftovers.adopt(fd) }

// Opened notes a new connection, or one that this worker has taken over and that may not be
// complete in Redis.
func (b *Bookkeeping) Opened(e Entry) {
	b.leftovers.adopt(e.FD)
	b.append(op{kind: opOpened, fd: e.FD, entry: &e})
}

// KeyAdded adds the fd to the set key until KeyRemoved or Closed.
func (b *Bookkeeping) KeyAdded(fd int64, key string) {
	b.append(op{kind: opKeyAdded, fd: fd, key: key})
}

// KeyRemoved undoes KeyAdded.
func (b *Bookkeeping) KeyRemoved(fd int64, key string) {
	b.append(op{kind: opKeyRemoved, fd: fd, key: key})
}

// CloseKeyAdded has the fd removed from the set key on close. The application adds it itself.
func (b *Bookkeeping) CloseKeyAdded(fd int64, key string) {
	b.append(op{kind: opCloseKeyAdded, fd: fd, key: key})
}

// CloseKeyRemoved undoes CloseKeyAdded.
func (b *Bookkeeping) CloseKeyRemoved(fd int64, key string) {
	b.append(op{kind: opCloseKeyRemoved, fd: fd, key: key})
}

// ListenerAdded has the controller notified of the close.
func (b *Bookkeeping) ListenerAdded(fd int64, name string) {
	b.append(op{kind: opListenerAdded, fd: fd, key: name})
}

// ListenerRemoved undoes ListenerAdded.
func (b *Bookkeeping) ListenerRemoved(fd int64, name string) {
	b.append(op{kind: opListenerRemoved, fd: fd, key: name})
}

// Flush waits until Redis knows everything that happened before the call.
func (b *Bookkeeping) Flush(ctx context.Context) error {
	return b.journal.flush(ctx, b.life.ctx.Done())
}
