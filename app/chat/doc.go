// Package chat is a sample application with rooms, private messages, an online list, history, and a
// counter of page views. Its page is public/static/chat.html; the start of the server prints links.
//
//	{"method":"chat.user.open"}                                   → userOpenSuccess    {id, nickname, channel}
//	{"method":"chat.user.say","to":"7","text":"hi"}               → privateSaySuccess, and both users get privateSay
//	{"method":"chat.room.list"}                                   → roomListSuccess    [{id, title, online, views}]
//	{"method":"chat.room.join","room":"lobby"}                    → roomJoinSuccess    {room, channel}
//	{"method":"chat.room.say","room":"lobby","text":"hi"}         → roomSaySuccess, and the members get roomSay
//	{"method":"chat.room.online","room":"lobby","after":0}        → roomOnlineSuccess  {room, total, list, next}
//	{"method":"chat.room.leave","room":"lobby"}                   → roomLeaveSuccess
//
// A channel is the framework's name of a room, which clients use in sys.history and sys.recover,
// and which kept pushes contain as their room. Members are notified of each other by roomJoin and
// roomLeave, and of page views by roomViews.
package chat

import (
	"slices"
	"strings"
	"time"

	"wsframe/framework"
)

// Replies to requests that are not allowed.
var (
	mustLogIn    = framework.NewFail(403, "mustLogIn", "请先登录")
	roomNotFound = framework.NewFail(404, "roomNotFound", "没有这个房间")
	notInRoom    = framework.NewFail(403, "notInRoom", "请先加入房间")
	textEmpty    = framework.NewFail(400, "textEmpty", "内容不能为空")
	userOffline  = framework.NewFail(404, "userOffline", "对方不在线")
	sayFailed    = framework.NewFail(503, "sayFailed", "发送失败，请稍后再试")
	toYourself   = framework.NewFail(400, "toYourself", "不能给自己发私信")
)

// Events for the members of a room, and for a user.
var (
	roomSay           = framework.Event[*Message]("roomSay", "收到聊天消息")
	roomViews         = framework.Event[ViewsOut]("roomViews", "访问量")
	privateSay        = framework.Event[*Message]("privateSay", "收到私信")
	privateSaySuccess = framework.Event[framework.None]("privateSaySuccess", "发送成功")
)

// kept limits the history of a room's or a user's messages.
var kept = framework.Keep(200, 24*time.Hour)

// Person is the public part of a user.
type Person struct {
	ID       string `json:"id"`
	Nickname string `json:"nickname"`
}

// Message is a message to a room or to a user.
type Message struct {
	Room string `json:"room,omitempty"`
	From Person `json:"from"`
	To   string `json:"to,omitempty"`
	Text string `json:"text"`
	Key  string `json:"key,omitempty"` // chosen by the sender's page, to recognise its own message
	Time int64  `json:"time"`          // UNIX milliseconds of the server
}

// TextIn is the text of a message.
type TextIn struct {
	Text framework.Str `json:"text" validate:"required,max=500"`
	Key  framework.Str `json:"key" validate:"max=64"`
}

func (in *TextIn) message(c *framework.Ctx) (*Message, error) {
	text := strings.TrimSpace(string(in.Text))
	if text == "" {
		return nil, textEmpty
	}
	return &Message{From: person(c), Text: text, Key: string(in.Key), Time: time.Now().UnixMilli()}, nil
}

func person(c *framework.Ctx) Person { return Person{c.Auth.ID, c.Auth.Nickname} }

// guard admits users whose uid is their token's id. Inboxes and Persons use that id, and a wall or
// a user of another system may have the same one (users.uid_types).
func guard(c *framework.Ctx) error {
	if c.Auth.ID == "" || !slices.Contains(c.UIDs(), c.Auth.ID) {
		return mustLogIn
	}
	return nil
}
