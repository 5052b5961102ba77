//go:build unix

package framework

import (
	"context"
	"os"

	"wsframe/framework/internal/reload"
)

// Transfer moves all connections to the worker at the other end of peer, a Unix stream socket,
// which it closes. It is called in the old worker while the new one runs Adopt. handed is called as
// soon as the new worker owns the connections; afterwards Transfer waits, until ctx ends, for
// actions that still run here. After an error nothing has moved, and this worker goes on serving.
func (a *App) Transfer(ctx context.Context, peer *os.File, handed func(moved int)) (Moved, error) {
	p, err := reload.NewPipe(context.WithoutCancel(ctx), peer) // the last word is sent when ctx has ended; every step has its own limit
	if err != nil {
		return Moved{}, err
	}
	defer p.Close()
	return reload.Send(ctx, a.reloadConfig(), p, handed)
}

// Adopt receives the connections of the worker at the other end of peer. serving is called as soon
// as they are served here, while actions may still run there.
func (a *App) Adopt(ctx context.Context, peer *os.File, serving func()) (Moved, error) {
	p, err := reload.NewPipe(ctx, peer)
	if err != nil {
		return Moved{}, err
	}
	defer p.Close()
	return reload.Receive(a.reloadConfig(), p, serving)
}
