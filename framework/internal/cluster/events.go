package cluster

import (
	"context"
	"maps"
	"slices"
)

func (w *Writer) append(o op) {
	if o.fd >= w.numbers.floor.Load() { // else it is for those to clean up who declared this node dead
		w.journal.append(o)
	}
}

// Handed tells that the next worker has taken the connections: those that no longer live here are
// no ghosts.
func (w *Writer) Handed() {
	w.leftovers.settled.Store(false)
	w.journal.filled(slices.Collect(maps.Keys(w.journal.lacks()))) // the next worker writes them
}

// Opened notes a new connection, or one that was taken over without Redis knowing all of it.
func (w *Writer) Opened(e Entry) {
	w.leftovers.Adopted(e.FD)
	w.append(op{kind: opOpened, fd: e.FD, entry: &e})
}

// Closed takes a connection out of all its sets, then removes its bookkeeping. It is called after
// the connection's Live and Alive have ended and its listeners have been told.
func (w *Writer) Closed(e Entry) {
	w.owners.ended(e.FD)
	w.append(op{kind: opClosed, fd: e.FD, entry: &e})
}

// KeyAdded puts the fd into the set key, and has it removed on close.
func (w *Writer) KeyAdded(fd int64, key string) { w.append(op{kind: opKeyAdded, fd: fd, key: key}) }

// KeyRemoved undoes KeyAdded.
func (w *Writer) KeyRemoved(fd int64, key string) { w.append(op{kind: opKeyRemoved, fd: fd, key: key}) }

// CloseKeyAdded has the fd removed from the set key on close; the set itself is the application's.
func (w *Writer) CloseKeyAdded(fd int64, key string) {
	w.append(op{kind: opCloseKeyAdded, fd: fd, key: key})
}

// CloseKeyRemoved undoes CloseKeyAdded.
func (w *Writer) CloseKeyRemoved(fd int64, key string) {
	w.append(op{kind: opCloseKeyRemoved, fd: fd, key: key})
}

// ListenerAdded has the controller told of the close.
func (w *Writer) ListenerAdded(fd int64, name string) {
	w.append(op{kind: opListenerAdded, fd: fd, key: name})
}

// ListenerRemoved undoes ListenerAdded.
func (w *Writer) ListenerRemoved(fd int64, name string) {
	w.append(op{kind: opListenerRemoved, fd: fd, key: name})
}

// Stale removes the fd of a connection that is gone from a set; it may have been another node's.
func (w *Writer) Stale(fd int64, key string) { w.journal.append(op{kind: opStale, fd: fd, key: key}) }

// Leaving notes that a user may have left, to be looked at by Depart of any node after Config.Away.
// told = the room's members know that he is there, whatever has become of Redis since.
func (w *Writer) Leaving(p Present, told bool) {
	if told {
		p.value = p.asserted()
	}
	w.journal.append(op{kind: opLeaving, present: &p})
}

// Flush waits until Redis knows everything that happened before the call.
func (w *Writer) Flush(ctx context.Context) error { return w.journal.flush(ctx, w.life.ctx.Done()) }
