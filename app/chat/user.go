package chat

import (
	"context"
	"errors"

	"wsframe/framework"
)

// inboxOf returns a room that contains only the connections of one user. Private messages are
// therefore kept and recovered like those of any room.
func inboxOf(uid string) string { return "CHAT_USER_" + uid }

// User handles private messages.
type User struct{}

var _ framework.GuardHook = (*User)(nil)

// Guard admits users with an id.
func (*User) Guard(c *framework.Ctx) error { return guard(c) }

// OpenOut is the user who has logged in, and the channel of the private messages.
type OpenOut struct {
	Channel  string `json:"channel"`
	ID       string `json:"id"`
	Nickname string `json:"nickname"`
}

// Open subscribes the connection to the user's private messages, and returns the user.
func (*User) Open(c *framework.Ctx) (*OpenOut, error) {
	channel := inboxOf(c.Auth.ID)
	if err := c.Join(channel, framework.Kept); err != nil {
		return nil, err
	}
	return &OpenOut{channel, c.Auth.ID, c.Auth.Nickname}, nil
}

// PrivateIn is a message to one user.
type PrivateIn struct {
	To framework.Str `json:"to" validate:"required,max=64"`
	TextIn
}

// Say sends a message to all connections of a user, and to those of the sender. It waits until the
// nodes have answered whether the user is online.
func (*User) Say(c *framework.Ctx, in *PrivateIn) (*framework.Reply, error) {
	to := string(in.To)
	if to == c.Auth.ID {
		return nil, toYourself
	}
	m, err := in.message(c)
	if err != nil {
		return nil, err
	}
	online, err := c.Server().IsUIDOnline(context.WithoutCancel(c), to) // a message is delivered even if its sender disconnects
	switch {
	case errors.Is(err, framework.ErrUID), err == nil && !online:
		return nil, userOffline
	case !online:
		return nil, err
	}
	m.To = to
	for _, uid := range []string{to, c.Auth.ID} {
		if err := c.Publish(inboxOf(uid), privateSay.With(m), kept, framework.Durable); err != nil {
			return nil, sayFailed.Because(err)
		}
	}
	return privateSaySuccess.With(framework.None{}), nil
}
