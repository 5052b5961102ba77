package chat

import (
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"

	"wsframe/framework"
)

// rooms lists all rooms. A real application may keep them in its database.
var rooms = []struct{ id, title string }{
	{"lobby", "大厅"},
	{"tech", "技术交流"},
	{"music", "音乐"},
}

// channelOf returns the framework's name of a room.
func channelOf(room string) string { return "CHAT_ROOM_" + room }

// Room handles what users do in rooms.
type Room struct{ views *Views }

// NewRoom makes the controller chat.room.
func NewRoom(v *Views) *Room { return &Room{v} }

var (
	_ framework.GuardHook       = (*Room)(nil)
	_ framework.WorkerStartHook = (*Room)(nil)
	_ framework.WorkerStopHook  = (*Room)(nil)
)

// Guard admits users with an id.
func (r *Room) Guard(c *framework.Ctx) error { return guard(c) }

// OnWorkerStart starts to save the views.
func (r *Room) OnWorkerStart(ctx context.Context, app *framework.App) error {
	r.views.start(ctx, func(room string, total int64) error {
		return app.Publish(channelOf(room), roomViews.With(ViewsOut{room, total}), framework.Latest("views"))
	})
	return nil
}

// OnWorkerStop saves the remaining views.
func (r *Room) OnWorkerStop(ctx context.Context) error { return r.views.stop(ctx) }

// ViewsOut are the page views of a room.
type ViewsOut struct {
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

// entered finds the room, and checks that the connection is in it.
func (in *RoomIn) entered(c *framework.Ctx) (string, error) {
	channel, err := in.channel()
	if err == nil && !c.InRoom(channel) {
		err = notInRoom
	}
	return channel, err
}

// RoomOut is a room of the list.
type RoomOut struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Online int    `json:"online"` // connections
	Views  int64  `json:"views"`
}

// List returns all rooms. If Redis does not answer, the list has no views.
func (r *Room) List(c *framework.Ctx) (*[]RoomOut, error) {
	views, err := r.views.Totals(c)
	if err != nil {
		c.Log().Warn("views", zap.Error(err))
	}
	list := make([]RoomOut, len(rooms))
	for i, room := range rooms {
		online, err := count(c, channelOf(room.id))
		if err != nil {
			return nil, err
		}
		list[i] = RoomOut{room.id, room.title, online, views[room.id]}
	}
	return &list, nil
}

// count returns the number of a room's connections on all nodes that answer.
func count(c *framework.Ctx, channel string) (int, error) {
	n, err := c.Server().RoomCount(c, channel)
	if errors.Is(err, framework.ErrPartial) {
		err = nil
	}
	return n, err
}

// JoinOut names the room that a connection has entered, and its channel.
type JoinOut struct {
	Channel string `json:"channel"`
	Room    string `json:"room"`
}

// Join enters a room and counts a view. A reconnecting client first receives the messages that it
// missed.
func (r *Room) Join(c *framework.Ctx, in *RoomIn) (*JoinOut, error) {
	channel, err := in.channel()
	if err != nil {
		return nil, err
	}
	if err := c.Join(channel, framework.Announce, framework.Kept); err != nil {
		return nil, err
	}
	r.views.Add(string(in.Room))
	return &JoinOut{channel, string(in.Room)}, nil
}

// Leave leaves a room.
func (r *Room) Leave(c *framework.Ctx, in *RoomIn) (*framework.None, error) {
	channel, err := in.channel()
	if err != nil {
		return nil, err
	}
	c.Leave(channel)
	return nil, nil
}

// SayIn is a message to a room.
type SayIn struct {
	RoomIn
	TextIn
}

// Say sends a message to all members of the room, including the sender, so that all see the same
// order. A successful reply means that the message is in the history.
func (r *Room) Say(c *framework.Ctx, in *SayIn) (*framework.None, error) {
	channel, err := in.entered(c)
	if err != nil {
		return nil, err
	}
	m, err := in.message(c)
	if err != nil {
		return nil, err
	}
	m.Room = string(in.Room)
	if err := c.Publish(channel, roomSay.With(m), kept, framework.Durable); err != nil {
		return nil, sayFailed.Because(err)
	}
	return nil, nil
}

// OnlineIn requests a page of a room's members: at most Limit, with an fd greater than After.
type OnlineIn struct {
	RoomIn
	After framework.Int `json:"after" validate:"min=0"`
	Limit framework.Int `json:"limit" validate:"min=0,max=200"`
}

// OnlineOut is a page of a room's members.
type OnlineOut struct {
	Room  string   `json:"room"`
	Total int      `json:"total"` // connections
	List  []Person `json:"list" validate:"required"`
	Next  int64    `json:"next"` // After for the next page; 0 on the last page
}

// Online lists the members of a room. A user with several connections may appear again on a later
// page.
func (r *Room) Online(c *framework.Ctx, in *OnlineIn) (*OnlineOut, error) {
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
	out := OnlineOut{Room: string(in.Room), List: []Person{}}
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
	return &out, nil
}
