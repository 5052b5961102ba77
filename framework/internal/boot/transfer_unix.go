//go:build unix

package boot

import (
	"context"
	"os"
	"time"

	"go.uber.org/zap"

	"wsframe/framework"
	"wsframe/framework/internal/hub"
	"wsframe/framework/process"
)

var transferVersions = process.Versions{Writes: hub.TransferVersion, Reads: []int{hub.TransferVersion}}

var _ process.Transferrer = (*worker)(nil)

// flushTime bounds the wait of a move for the store, so that less remains to be written after it.
const flushTime = 200 * time.Millisecond

// Pause makes new clients wait in the kernel's queue, and requests of back ends until it is known
// which worker has the connections.
func (w *worker) Pause() {
	w.app.Pause()
	w.push.Pause()
}

// Resume undoes Pause.
func (w *worker) Resume() {
	w.push.Resume()
	w.app.Resume()
}

// Transfer moves this worker's connections to another worker.
func (w *worker) Transfer(ctx context.Context, peer *os.File, handed func(moved int)) (process.TransferReport, error) {
	flush, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	if err := w.app.Flush(flush); err != nil {
		w.log.Warn("the store does not know everything at the move", zap.Error(err)) // the new worker writes it
	}
	moved, err := w.app.Transfer(ctx, peer, func(n int) {
		w.handed.Store(true)
		handed(n)
	})
	if err != nil {
		w.Resume()
	}
	return report(moved, err)
}

// Adopt takes connections over, then accepts new ones.
func (w *worker) Adopt(ctx context.Context, peer *os.File, serving func()) (process.TransferReport, error) {
	return report(w.app.Adopt(ctx, peer, func() {
		serving()
		w.Accept()
	}))
}

func report(m framework.Moved, err error) (process.TransferReport, error) {
	return process.TransferReport{Moved: m.Connections, Pause: m.Pause, Notes: m.Notes, Streams: m.Streams, StreamDrain: m.StreamDrain}, err
}
