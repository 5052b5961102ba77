// Package credentials decides whose a handshake is: by the tokens of package auth, or by the
// application's own check.
//
// The root package makes one Checker, which is the Authenticate of package accept. Tokens are
// checked in memory at once; the application's check goes through the gate of package accept
// (Handshake.Costly), since it may wait for a database.
package credentials

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/accept"
	"wsframe/library/encrypt"
)

// Config of a Checker.
type Config struct {
	Check  bool                                                            // false: everybody may come, without an identity
	Tokens func(token string) (auth.Identity, error)                       // nil = none are accepted
	Own    func(context.Context, *accept.Handshake) (auth.Identity, error) // of the application; nil = none
}

// Checker is made by New. It is immutable, so it is safe for concurrent use.
type Checker struct{ Config }

// New makes a Checker.
func New(cfg Config) *Checker { return &Checker{cfg} }

var (
	errNone = errors.New("there is no token")
	errForm = errors.New("the token has no form that is accepted")
)

// Authenticate is accept.Policy.Authenticate. A token that has the form of this server's is decided
// by that alone; the application decides about all others that are not valid.
func (c *Checker) Authenticate(h *accept.Handshake) (auth.Identity, error) {
	id, err := c.identify(h)
	if err != nil && !c.Check {
		return auth.Identity{}, nil
	}
	return id, err
}

func (c *Checker) identify(h *accept.Handshake) (auth.Identity, error) {
	if c.Tokens != nil && strings.HasPrefix(h.Token, encrypt.Prefix) {
		return c.Tokens(h.Token)
	}
	err := errForm
	if h.Token == "" {
		err = errNone
	} else if c.Tokens != nil {
		var id auth.Identity
		if id, err = c.Tokens(h.Token); err == nil {
			return id, nil
		}
	}
	if c.Own != nil {
		return c.own(h)
	}
	return auth.Identity{}, err
}

// own asks the application, in the gate. What it answers after its handshake was refused is lost.
func (c *Checker) own(h *accept.Handshake) (auth.Identity, error) {
	out := make(chan auth.Identity, 1)
	if err := h.Costly(func(ctx context.Context) error {
		id, err := c.Own(ctx, h)
		if err != nil {
			return err
		}
		if id.CTime == 0 {
			id.CTime = time.Now().Unix()
		}
		if err := id.Validate(); err != nil {
			return fmt.Errorf("the authenticator's identity: %w", err)
		}
		out <- id
		return nil
	}); err != nil {
		return auth.Identity{}, err
	}
	return <-out, nil
}
