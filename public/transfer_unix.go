//go:build unix

package main

import (
	"context"
	"os"

	"go.uber.org/zap"

	"wsframe/framework"
	"wsframe/framework/hub"
	"wsframe/framework/process"
)

var transferVersions = process.Versions{Writes: hub.TransferVersion, Reads: []int{hub.TransferVersion - 1, hub.TransferVersion}}

var _ process.Transferrer = (*worker)(nil)

// Transfer moves this worker's connections to another.
func (w *worker) Transfer(ctx context.Context, peer *os.File) (process.TransferReport, error) {
	if err := w.app.Node().Flush(ctx); err != nil {
		w.log.Warn("the store does not know everything at the move", zap.Error(err))
	}
	w.push.Pause() // what back ends ask for next is asked where the connections are
	moved, err := w.app.Transfer(ctx, peer)
	if err != nil {
		w.push.Resume()
	}
	return report(moved, err)
}

// Adopt takes them over, then accepts new ones.
func (w *worker) Adopt(ctx context.Context, peer *os.File) (process.TransferReport, error) {
	defer w.startAccepting()
	return report(w.app.Adopt(ctx, peer, w.startAccepting))
}

func report(m framework.Moved, err error) (process.TransferReport, error) {
	return process.TransferReport{Moved: m.Connections, Pause: m.Pause, Notes: m.Notes}, err
}
