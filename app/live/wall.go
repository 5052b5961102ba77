package live

import (
	"context"
	"errors"

	"wsframe/framework"
)

// Wall handles requests of big screens.
type Wall struct {
	messages *Messages
	pending  *Pending
}

// NewWall makes the controller live.wall.
func NewWall(m *Messages, p *Pending) *Wall { return &Wall{m, p} }

var (
	_ framework.GuardHook       = (*Wall)(nil)
	_ framework.WorkerStartHook = (*Wall)(nil)
)

// OnWorkerStart creates the table of messages.
func (w *Wall) OnWorkerStart(ctx context.Context, _ *framework.App) error {
	return w.messages.Migrate(ctx) // ctx ends with limits.boot_timeout
}

// Guard admits walls with a room code.
func (w *Wall) Guard(c *framework.Ctx) error { return guard(c, framework.TypeWall, mustBeWall) }

// Join enters the room of the wall's code.
func (w *Wall) Join(c *framework.Ctx) (*framework.Reply, error) {
	if err := c.Join(wallRoom(c.Code())); err != nil {
		return nil, err
	}
	return framework.OK("wallJoinSuccess", "加入房间成功"), nil
}

// Out leaves the room.
func (w *Wall) Out(c *framework.Ctx) (*framework.Reply, error) {
	c.Leave(wallRoom(c.Code()))
	return framework.OK("wallOutSuccess", "退出房间成功"), nil
}

// Say shows a message of the wall to the users. The message is saved and sent even if the wall
// disconnects meanwhile.
func (w *Wall) Say(c *framework.Ctx, in *SayIn) (*framework.Reply, error) {
	row, err := w.messages.Create(context.WithoutCancel(c), c.Auth, string(in.Say))
	if err != nil {
		return nil, insertDbError.Because(err)
	}
	if err := c.Publish(userRoom(c.Code()), framework.OK("wallSayBroadcast", "收到大屏幕广播内容", row)); err != nil {
		return nil, err
	}
	return framework.OK("wallSaySuccess", "广播成功", row), nil
}

// IDIn names a message. The id 0 matches none.
type IDIn struct {
	ID framework.Int `json:"id"`
}

// Recall hides a message of the room.
func (w *Wall) Recall(c *framework.Ctx, in *IDIn) (*framework.Reply, error) {
	id := int64(in.ID)
	switch err := w.messages.Recall(context.WithoutCancel(c), c.Code(), id); {
	case errors.Is(err, errNotFound):
		return nil, wallRecallFail
	case err != nil:
		return nil, err
	}
	if err := c.Publish(userRoom(c.Code()), framework.OK("wallSayRecall", "撤回一条大屏幕消息", id)); err != nil {
		return nil, err
	}
	return framework.OK("wallRecallSuccess", "撤回广播成功", id), nil
}

// CheckIn decides on a user's message. Status 0, or none, drops it.
type CheckIn struct {
	ID     framework.Str `json:"id" validate:"required,max=64"`
	Status framework.Int `json:"status"`
}

// Check approves or drops a message that awaits review.
func (w *Wall) Check(c *framework.Ctx, in *CheckIn) (*framework.Reply, error) {
	say, err := w.pending.Remove(context.WithoutCancel(c), c.Code(), string(in.ID))
	if err != nil {
		return nil, err
	}
	if say != nil && in.Status != 0 {
		approved := framework.OK("userSayBroadcast", "用户消息审核通过", say)
		for _, room := range []string{userRoom(c.Code()), wallRoom(c.Code())} {
			if err := c.Publish(room, approved); err != nil {
				return nil, err
			}
		}
	}
	return framework.OK("wallCheckSuccess", "审核消息成功", string(in.ID)), nil
}

// Clean empties the review queue.
func (w *Wall) Clean(c *framework.Ctx) (*framework.Reply, error) {
	if err := w.pending.Clean(context.WithoutCancel(c), c.Code()); err != nil {
		return nil, err
	}
	return framework.OK("wallCleanSuccess", "清空审核队列成功"), nil
}

// History returns the messages that walls show, or those that await review. Without a count, it
// returns up to 100 messages of the review queue.
func (w *Wall) History(c *framework.Ctx, in *PageIn) (*framework.Reply, error) {
	switch in.Type {
	case "wall":
		return wallHistory(c, w.messages, in)
	case "user":
		offset, limit := in.window(wholeQueue)
		list, err := w.pending.List(c, c.Code(), offset, limit)
		if err != nil {
			return nil, err
		}
		return framework.OK("userSayHistory", "获取消息历史成功", list), nil
	}
	return nil, typeError
}
