// Package live is the original's real application (contract §6): WeChat users send messages, which wait until a wall approves
// them; walls show what they and the users say, and may recall it.
package live

import "wsframe/framework"

// What clients are told when something is not allowed or fails.
var (
	mustBeWechatUser = framework.NewFail(403, "mustBeWechatUser", "仅允许微信用户连入")
	mustBeWall       = framework.NewFail(403, "mustBeWall", "仅允许大屏幕用户连入")
	codeIsEmpty      = framework.NewFail(999, "codeIsEmpty", "code不能为空")
	insertDbError    = framework.NewFail(501, "insertDbError", "保存数据至数据库失败")
	wallRecallFail   = framework.NewFail(403, "wallRecallFail", "撤回广播失败")
	typeError        = framework.NewFail(401, "typeError", "类型错误")
	queueFull        = framework.NewFail(503, "queueFull", "等待审核的消息过多")
)

// The rooms and the review queue of a code. Each has a name of its own: the original used the users' room for all three,
// and so showed unreviewed messages to everybody.
func userRoom(code string) string { return "LIVE_USER_ROOM_" + code }
func wallRoom(code string) string { return "LIVE_WALL_ROOM_" + code }
func queueKey(code string) string { return "LIVE_USER_MESSAGE_" + code }

// guard lets in connections of one type that belong to a room.
func guard(c *framework.Ctx, wanted string, otherwise *framework.Fail) error {
	if c.Auth.Type != wanted {
		return otherwise
	}
	if c.Code() == "" {
		return codeIsEmpty
	}
	return nil
}

// SayIn is a message's text.
type SayIn struct {
	Say framework.Str `json:"say" validate:"required,max=500"`
}

// PageIn asks for a part of a history, newest first.
type PageIn struct {
	Type  string        `json:"type"`
	Page  framework.Int `json:"page" validate:"min=0,max=100000"`
	Count framework.Int `json:"count" validate:"min=0"`
}

// wholeQueue is how much of a review queue is answered where no count is given: clients of the original expect all of it,
// and so many of the longest messages fit into one frame well below the outbox's limit.
const wholeQueue = 100

// window is the part to read: otherwise entries where no count is given, else at most 20; pages begin with 1.
func (in *PageIn) window(otherwise int) (offset, limit int) {
	limit = min(int(in.Count), 20)
	if limit == 0 {
		limit = otherwise
	}
	return (max(int(in.Page), 1) - 1) * limit, limit
}
