//go:build unix

package framework

import (
	"context"
	"os"
	"slices"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/reload"
	"wsframe/framework/internal/session"
)

// Shaking is the number of handshakes that are under way.
func (a *App) Shaking() int { return a.accept.Handshakes() }

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
