package chat

import (
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"

	"wsframe/framework"
)

// rooms are those there are. Yours may stand in the database.
var rooms = []struct{ id, title string }{
	{"lobby", "大厅"},
	{"tech", "技术交流"},
	{"music", "音乐"},
}

// channelOf is the framework's name of a room.
func channelOf(room string) string { return "CHAT_ROOM_" + room }

// Room is what users do in rooms.
type Room struct{ views *Views }

// NewRoom makes the controller chat.room.
func NewRoom(v *Views) *Room { return &Room{v} }

var (
	_ framework.GuardHook       = (*Room)(nil)
	_ framework.WorkerStartHook = (*Room)(nil)
	_ framework.WorkerStopHook  = (*Room)(nil)
)

// Guard lets users in that have an id.
func (r *Room) Guard(c *framework.Ctx) error { return guard(c) }

// OnWorkerStart begins to write down the views.
func (r *Room) OnWorkerStart(ctx context.Context, app *framework.App) error {
	r.views.start(ctx, func(room string, total int64) error {
		return app.Publish(channelOf(room), framework.OK("roomViews", "访问量", viewsOut{room, total}), framework.Latest("views"))
	})
	return nil
}

// OnWorkerStop writes down the last of them.
func (r *Room) OnWorkerStop(ctx context.Context) error { return r.views.stop(ctx) }

type viewsOut struct {
	Room  string `json:"room"`
	Views int64  `json:"views"`
}

// RoomIn names a room.
type RoomIn struct {
	Room framework.Str `json:"room" validate:"required,max=32"`
}

// channel finds the room.
func (in *RoomIn) channel() (string, error) {
	for _, room := range rooms {
		if room.id == string(in.Room) {
			return channelOf(room.id), nil
		}
	}
	return "", roomNotFound
}

// entered finds the room, which the connection must be in.
func (in *RoomIn) entered(c *framework.Ctx) (string, error) {
	channel, err := in.channel()
	if err == nil && !c.InRoom(channel) {
		err = notInRoom
	}
	return channel, err
}

type roomOut struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Online int    `json:"online"` // connections
	Views  int64  `json:"views"`
}

// List shows all rooms. A Redis that does not answer costs the views, not the list.
func (r *Room) List(c *framework.Ctx) (*framework.Reply, error) {
	views, err := r.views.Totals(c)
	if err != nil {
		c.Log().Warn("views", zap.Error(err))
	}
	list := make([]roomOut, len(rooms))
	for i, room := range rooms {
		online, err := count(c, channelOf(room.id))
		if err != nil {
			return nil, err
		}
		list[i] = roomOut{room.id, room.title, online, views[room.id]}
	}
	return framework.OK("roomListSuccess", "获取房间列表成功", list), nil
}

// count is the number of a room's connections on all nodes that answer.
func count(c *framework.Ctx, channel string) (int, error) {
	n, err := c.Server().RoomCount(c, channel)
	if errors.Is(err, framework.ErrPartial) {
		err = nil
	}
	return n, err
}

// Join enters a room, and is a view of it. Who comes back gets first what was missed.
func (r *Room) Join(c *framework.Ctx, in *RoomIn) (*framework.Reply, error) {
	channel, err := in.channel()
	if err != nil {
		return nil, err
	}
	if err := c.Join(channel, framework.Announce, framework.Kept); err != nil {
		return nil, err
	}
	r.views.Add(string(in.Room))
	return framework.OK("roomJoinSuccess", "加入房间成功", map[string]string{"room": string(in.Room), "channel": channel}), nil
}

// Leave leaves it.
func (r *Room) Leave(c *framework.Ctx, in *RoomIn) (*framework.Reply, error) {
	channel, err := in.channel()
	if err != nil {
		return nil, err
	}
	c.Leave(channel)
	return framework.OK("roomLeaveSuccess", "离开房间成功"), nil
}

// SayIn is said in a room.
type SayIn struct {
	RoomIn
	TextIn
}

// Say sends to everybody in the room, the sender too: so all see the same order. Who is told that it was sent knows that it is kept.
func (r *Room) Say(c *framework.Ctx, in *SayIn) (*framework.Reply, error) {
	channel, err := in.entered(c)
	if err != nil {
		return nil, err
	}
	m, err := in.message(c)
	if err != nil {
		return nil, err
	}
	m.Room = string(in.Room)
	if err := c.Publish(channel, framework.OK("roomSay", "收到聊天消息", m), kept, framework.Durable); err != nil {
		return nil, sayFailed.Because(err)
	}
	return framework.OK("roomSaySuccess", "发送成功"), nil
}

// OnlineIn asks for a part of those who are in a room: those after, at most limit.
type OnlineIn struct {
	RoomIn
	After framework.Int `json:"after" validate:"min=0"`
	Limit framework.Int `json:"limit" validate:"min=0,max=200"`
}

type onlineOut struct {
	Room  string   `json:"room"`
	Total int      `json:"total"` // connections
	List  []Person `json:"list"`
	Next  int64    `json:"next"` // after, for the next part; 0 = there is none
}

// Online lists who is in a room. Who is there with several connections may come once more in a later part.
func (r *Room) Online(c *framework.Ctx, in *OnlineIn) (*framework.Reply, error) {
	channel, err := in.entered(c)
	if err != nil {
		return nil, err
	}
	limit := int(in.Limit)
	if limit == 0 {
		limit = 50
	}
	members, err := c.Server().RoomMembers(c, channel, int64(in.After), limit)
	if err != nil && !errors.Is(err, framework.ErrPartial) {
		return nil, err
	}
	out := onlineOut{Room: string(in.Room), List: []Person{}}
	if out.Total, err = count(c, channel); err != nil {
		return nil, err
	}
	for _, m := range members {
		if p := (Person{m.Auth.ID, m.Auth.Nickname}); !slices.Contains(out.List, p) {
			out.List = append(out.List, p)
		}
	}
	if len(members) == limit {
		out.Next = members[limit-1].FD
	}
	return framework.OK("roomOnlineSuccess", "获取在线列表成功", out), nil
}
