//go:build unix

package framework

import (
	"context"
	"os"
	"slices"

	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/reload"
	"wsframe/framework/internal/session"
)

// Hub is the App's connections.
func (a *App) Hub() *hub.Hub { return a.hub }

// Node is the App's bookkeeping in Redis.
func (a *App) Node() *cluster.Node { return a.node }

// Shaking is the number of handshakes that are under way.
func (a *App) Shaking() int { return a.port.Handshakes() }

// LoginsWait tells whether a login of the user waits for the answer of an earlier connection.
func (a *App) LoginsWait(uid string) bool {
	return slices.ContainsFunc(a.hub.User(uid), func(c *hub.Conn) bool { return session.Of(c).LoginsWait() > 0 })
}

// AdoptInVain is Adopt of a worker that comes too late: the old one takes everything back.
func (a *App) AdoptInVain(ctx context.Context, peer *os.File) error {
	p, err := reload.NewPipe(ctx, peer)
	if err != nil {
		return err
	}
	defer p.Close()
	_, err = reload.Receive(a.reloadConfig(), tooLate{p}, func() {})
	return err
}

type tooLate struct{ *reload.UnixPipe }

func (tooLate) Claim() bool { return false }
