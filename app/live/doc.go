// Package live is the application that MSwoole-ws runs in production (contract §6). WeChat users
// send messages, which wait for the approval of a wall. Walls show their own and the users'
// messages, and can recall them.
package live

import "wsframe/framework"

// Replies to requests that are not allowed or fail.
var (
	mustBeWechatUser = framework.NewFail(403, "mustBeWechatUser", "仅允许微信用户连入")
	mustBeWall       = framework.NewFail(403, "mustBeWall", "仅允许大屏幕用户连入")
	codeIsEmpty      = framework.NewFail(999, "codeIsEmpty", "code不能为空")
	insertDbError    = framework.NewFail(501, "insertDbError", "保存数据至数据库失败")
	wallRecallFail   = framework.NewFail(403, "wallRecallFail", "撤回广播失败")
	typeError        = framework.NewFail(401, "typeError", "类型错误")
	queueFull        = framework.NewFail(503, "queueFull", "等待审核的消息过多")
)

// The rooms and the review queue of a code have separate names. MSwoole-ws uses the users' room for
// all three, and therefore shows unreviewed messages to all users.
func userRoom(code string) string { return "LIVE_USER_ROOM_" + code }
func wallRoom(code string) string { return "LIVE_WALL_ROOM_" + code }
func queueKey(code string) string { return "LIVE_USER_MESSAGE_" + code }

// guard admits connections of one type that have a room code.
func guard(c *framework.Ctx, wanted string, otherwise *framework.Fail) error {
	if c.Auth.Type != wanted {
		return otherwise
	}
	if c.Code() == "" {
		return codeIsEmpty
	}
	return nil
}

// SayIn is the text of a message.
type SayIn struct {
	Say framework.Str `json:"say" validate:"required,max=500"`
}

// PageIn requests a page of a history, newest first.
type PageIn struct {
	Type  string        `json:"type"`
	Page  framework.Int `json:"page" validate:"min=0,max=100000"`
	Count framework.Int `json:"count" validate:"min=0"`
}

// wholeQueue is the default page size of a review queue. Clients of MSwoole-ws expect the whole
// queue, and this number of messages of the greatest length fits into an outbox.
const wholeQueue = 100

// window returns the part to read. Pages have at most 20 entries, or byDefault without a count; the
// first page is 1.
func (in *PageIn) window(byDefault int) (offset, limit int) {
	limit = min(int(in.Count), 20)
	if limit == 0 {
		limit = byDefault
	}
	return (max(int(in.Page), 1) - 1) * limit, limit
}
