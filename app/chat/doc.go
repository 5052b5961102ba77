// Package chat is a sample to start from: rooms, private messages, who is online, history, a counter of page views. The page is
// public/static/chat.html; start prints links to it.
//
//	{"method":"chat.user.open"}                                   → userOpenSuccess    {id, nickname, channel}
//	{"method":"chat.user.say","to":"7","text":"hi"}               → privateSaySuccess, and both users get privateSay
//	{"method":"chat.room.list"}                                   → roomListSuccess    [{id, title, online, views}]
//	{"method":"chat.room.join","room":"lobby"}                    → roomJoinSuccess    {room, channel}
//	{"method":"chat.room.say","room":"lobby","text":"hi"}         → roomSaySuccess, and the members get roomSay
//	{"method":"chat.room.online","room":"lobby","after":0}        → roomOnlineSuccess  {room, total, list, next}
//	{"method":"chat.room.leave","room":"lobby"}                   → roomLeaveSuccess
//
// A channel is the framework's name of a room: what sys.history and sys.recover are asked for, and what stands as room in the
// pushes that are kept. Members hear of each other by roomJoin and roomLeave, and of the views by roomViews.
package chat

import (
	"slices"
	"strings"
	"time"

	"wsframe/framework"
)

// What clients are told when something is not allowed.
var (
	mustLogIn    = framework.NewFail(403, "mustLogIn", "请先登录")
	roomNotFound = framework.NewFail(404, "roomNotFound", "没有这个房间")
	notInRoom    = framework.NewFail(403, "notInRoom", "请先加入房间")
	textEmpty    = framework.NewFail(400, "textEmpty", "内容不能为空")
	userOffline  = framework.NewFail(404, "userOffline", "对方不在线")
	sayFailed    = framework.NewFail(503, "sayFailed", "发送失败，请稍后再试")
	toYourself   = framework.NewFail(400, "toYourself", "不能给自己发私信")
)

// kept is how much of a room's or a user's messages stays for those who come back, or come later.
var kept = framework.Keep(200, 24*time.Hour)

// Person is what others see of a user.
type Person struct {
	ID       string `json:"id"`
	Nickname string `json:"nickname"`
}

// Message is what was said in a room, or to a user.
type Message struct {
	Room string `json:"room,omitempty"`
	From Person `json:"from"`
	To   string `json:"to,omitempty"`
	Text string `json:"text"`
	Key  string `json:"key,omitempty"` // the sender's own, by which its page knows the message again
	Time int64  `json:"time"`          // the server's, UNIX milliseconds
}

// TextIn is what a client says.
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

// guard lets in users whose token's id is their uid: the inbox and what others see bear that id, and a screen or another system's user
// may have the same one (users.uid_types).
func guard(c *framework.Ctx) error {
	if c.Auth.ID == "" || !slices.Contains(c.UIDs(), c.Auth.ID) {
		return mustLogIn
	}
	return nil
}
