package chat

import (
	"context"
	"errors"

	"wsframe/framework"
)

// inboxOf is a user's own room: all his connections are in it, nobody else's. So his private messages are kept, and come back after
// a loss, as those of any room.
func inboxOf(uid string) string { return "CHAT_USER_" + uid }

// User is what users do with each other.
type User struct{}

var _ framework.GuardHook = (*User)(nil)

// Guard lets users in that have an id.
func (*User) Guard(c *framework.Ctx) error { return guard(c) }

// Open has this connection get the user's private messages, and tells the client who it is.
func (*User) Open(c *framework.Ctx) (*framework.Reply, error) {
	channel := inboxOf(c.Auth.ID)
	if err := c.Join(channel, framework.Kept); err != nil {
		return nil, err
	}
	return framework.OK("userOpenSuccess", "登录成功", map[string]string{"id": c.Auth.ID, "nickname": c.Auth.Nickname, "channel": channel}), nil
}

// PrivateIn is said to one user.
type PrivateIn struct {
	To framework.Str `json:"to" validate:"required,max=64"`
	TextIn
}

// Say sends to all connections of a user, and to the sender's own. It waits until the nodes have said whether the user is there.
func (*User) Say(c *framework.Ctx, in *PrivateIn) (*framework.Reply, error) {
	to := string(in.To)
	if to == c.Auth.ID {
		return nil, toYourself
	}
	m, err := in.message(c)
	if err != nil {
		return nil, err
	}
	online, err := c.Server().IsUIDOnline(context.WithoutCancel(c), to) // what was said is delivered, also when who said it goes meanwhile
	switch {
	case errors.Is(err, framework.ErrUID), err == nil && !online:
		return nil, userOffline
	case !online:
		return nil, err
	}
	m.To = to
	for _, uid := range []string{to, c.Auth.ID} {
		if err := c.Publish(inboxOf(uid), framework.OK("privateSay", "收到私信", m), kept, framework.Durable); err != nil {
			return nil, sayFailed.Because(err)
		}
	}
	return framework.OK("privateSaySuccess", "发送成功"), nil
}
