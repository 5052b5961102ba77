package live

import (
	"context"
	"errors"

	"wsframe/framework"
)

// User handles requests of WeChat users.
type User struct {
	messages *Messages
	pending  *Pending
}

// NewUser makes the controller live.user.
func NewUser(m *Messages, p *Pending) *User { return &User{m, p} }

var (
	_ framework.GuardHook = (*User)(nil)
	_ framework.CloseHook = (*User)(nil)
)

// Guard admits WeChat users with a room code.
func (u *User) Guard(c *framework.Ctx) error {
	return guard(c, framework.TypeWechatUser, mustBeWechatUser)
}

// Join enters the room of the user's code.
func (u *User) Join(c *framework.Ctx) (*framework.Reply, error) {
	if err := c.Join(userRoom(c.Code())); err != nil {
		return nil, err
	}
	if err := c.AddCloseListener("live.user"); err != nil {
		return nil, err
	}
	return framework.OK("userJoinSuccess", "加入房间成功"), nil
}

// Out leaves the room.
func (u *User) Out(c *framework.Ctx) (*framework.Reply, error) {
	c.Leave(userRoom(c.Code()))
	c.RemoveCloseListener("live.user")
	return framework.OK("userOutSuccess", "退出房间成功"), nil
}

// OnClose runs for users whose connection ends in the room. The framework removes them from their
// rooms; other clean-up of an application belongs here.
func (u *User) OnClose(c *framework.Closed) {
	c.Log().Debug("user left the room")
}

// Say queues a message for review and notifies the walls.
func (u *User) Say(c *framework.Ctx, in *SayIn) (*framework.Reply, error) {
	say, err := u.pending.Add(context.WithoutCancel(c), c.Code(), c.Auth.Nickname, string(in.Say))
	if errors.Is(err, errQueueFull) {
		return nil, queueFull
	}
	if err != nil {
		return nil, err
	}
	if err := c.Publish(wallRoom(c.Code()), framework.OK("userSayNeedCheck", "收到用户广播内容", say)); err != nil {
		return nil, err
	}
	return framework.OK("userSaySuccess", "发布聊天内容成功，等待审核", say.ID), nil
}

// History returns the messages that the walls of the room show, newest first.
func (u *User) History(c *framework.Ctx, in *PageIn) (*framework.Reply, error) {
	return wallHistory(c, u.messages, in)
}

func wallHistory(c *framework.Ctx, m *Messages, in *PageIn) (*framework.Reply, error) {
	offset, limit := in.window(10)
	rows, err := m.Shown(c, c.Code(), offset, limit)
	if err != nil {
		return nil, err
	}
	return framework.OK("wallSayHistory", "获取历史成功", rows), nil
}
