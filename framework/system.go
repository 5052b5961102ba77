package framework

import (
	"encoding/json"
	"errors"
	"slices"

	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/question"
	"wsframe/framework/internal/room"
	"wsframe/framework/internal/session"
)

// system has the built-in methods sys.recover and sys.history, for the rooms of a connection, and
// sys.clientId.
type system struct{}

// roomPosition is the last push of a room that a client has seen.
type roomPosition struct {
	Room   string `json:"room"`
	Offset Int    `json:"offset"`
	Epoch  Str    `json:"epoch"`
}

type recoverIn struct {
	roomPosition
	Rooms []roomPosition `json:"rooms" validate:"max=32"`
}

var (
	errRoom    = NewFail(400, "roomError", "房间名称不正确")
	errTaken   = NewFail(400, "roomError", "房间名称为系统保留")
	errEpoch   = NewFail(400, "paramError", "参数错误").With([]FieldError{{Field: "epoch", Rule: "max=64"}})
	errNotIn   = NewFail(403, "notInRoom", "未加入该房间")
	errOften   = NewFail(429, "tooOften", "请求过于频繁，请稍后再试")
	errGateway = NewFail(404, "gatewayOff", "未启用 gateway")
	errHistory = NewFail(503, "historyUnavailable", "暂时无法读取历史消息")
)

// Recover sends the pushes that the client has missed since the given positions. The position in a
// room that the connection has not joined yet is kept, and its missed pushes come at the join,
// before anything new. Of several positions in one room the first counts.
func (*system) Recover(c *Ctx, in *recoverIn) (*[]history.Recovery, error) {
	rooms := in.Rooms
	if in.Room != "" {
		rooms = append([]roomPosition{in.roomPosition}, rooms...)
	}
	if len(rooms) == 0 {
		return nil, errRoom
	}
	results := make([]history.Recovery, 0, len(rooms))
	for i, p := range rooms {
		if slices.ContainsFunc(rooms[:i], func(before roomPosition) bool { return before.Room == p.Room }) {
			continue
		}
		r, err := recoverRoom(c, p.Room, room.Position{Offset: int64(p.Offset), Epoch: string(p.Epoch)})
		if err != nil {
			return nil, badRoom(p.Room, err)
		}
		results = append(results, r)
	}
	return &results, nil
}

// badRoom is the answer to an invalid room name. It names a reserved one, whose letters are valid.
func badRoom(room string, err error) *Fail {
	if errors.Is(err, errEpoch) {
		return errEpoch
	}
	if errors.Is(err, ErrReserved) {
		return errTaken.Because(err).With(map[string]string{"room": room})
	}
	return errRoom.Because(err)
}

type historyIn struct {
	Room   string `json:"room"`
	After  Int    `json:"after" validate:"min=0"`
	Before Int    `json:"before" validate:"min=0"`
	Limit  Int    `json:"limit" validate:"min=0,max=100"`
}

type historyOut struct {
	Room   string            `json:"room"`
	Epoch  string            `json:"epoch"`
	Offset int64             `json:"offset"`
	First  int64             `json:"first"`
	Items  []json.RawMessage `json:"items" validate:"required"`
	Times  []int64           `json:"times" validate:"required"`
}

// History pages through a room's kept pushes: forwards from after, or backwards from before;
// neither gives the newest. Items are in the order in which they were sent.
func (*system) History(c *Ctx, in *historyIn) (*historyOut, error) {
	if err := names.Room(in.Room); err != nil {
		return nil, badRoom(in.Room, err)
	}
	if !c.conn.InRoom(in.Room) {
		return nil, errNotIn
	}
	limit := int(in.Limit)
	if limit == 0 {
		limit = 20
	}
	after := int64(in.After)
	switch {
	case in.Before == 1:
		after, limit = 0, 0
	case in.Before > 1:
		after = max(0, int64(in.Before)-1-int64(limit))
		limit = min(limit, int(in.Before)-1)
	case in.After == 0:
		after = -1
	}
	calls := 1
	if after < 0 {
		calls = 2
	}
	if !payPage(c, calls) {
		return nil, errOften
	}
	if !c.server.history.Turn(c) {
		return nil, errHistory
	}
	defer c.server.history.EndTurn()
	out := historyOut{Room: in.Room, Items: []json.RawMessage{}, Times: []int64{}}
	page, err := c.server.History(c, in.Room, after, max(limit, 1))
	if err != nil {
		return nil, errHistory.Because(err)
	}
	out.Epoch, out.Offset, out.First = page.Epoch, page.Offset, page.First
	for i, item := range page.Items {
		if i == limit || in.Before > 0 && item.Offset >= int64(in.Before) {
			break
		}
		out.Items, out.Times = append(out.Items, item.Push), append(out.Times, item.Time)
	}
	return &out, nil
}

// answerIn is the answer to a question of the server. Its param is decoded by who asked.
type answerIn struct {
	Ask   Int             `json:"ask" validate:"required"`
	Param json.RawMessage `json:"param"`
	Error Str             `json:"error" validate:"max=200"`
}

// Answer passes the client's answer to the question with that number. It has no reply. Answers to
// questions that are not open any more are ignored.
func (*system) Answer(c *Ctx, in *answerIn) (*Reply, error) {
	c.server.questions.Answer(question.Answer{FD: c.FD, Number: int64(in.Ask), Param: in.Param, Error: string(in.Error)})
	return nil, nil
}

type resumeIn struct {
	Stream string `json:"stream" validate:"required,max=64"`
	After  Int    `json:"after" validate:"min=0"`
}

// Resume sends the parts of a stream behind the given one, and goes on with the next ones. Whoever
// knows a stream may read it.
func (*system) Resume(c *Ctx, in *resumeIn) (*None, error) {
	return askStream(c, opResume, in.Stream, int(in.After))
}

type cancelIn struct {
	Stream string `json:"stream" validate:"required,max=64"`
}

// Cancel ends a stream of this connection, or of another one of its user.
func (*system) Cancel(c *Ctx, in *cancelIn) (*None, error) {
	return askStream(c, opCancel, in.Stream, 0)
}

type clientIDOut struct {
	ClientID string `json:"client_id"`
}

// ClientID returns the client_id by which PHP back ends reach this connection.
func (*system) ClientID(c *Ctx) (*clientIDOut, error) {
	id := c.ClientID()
	if id == "" {
		return nil, errGateway
	}
	return &clientIDOut{id}, nil
}

// payPage charges a page to the budgets of the connection and of the user. It reports whether both
// could pay.
func payPage(c *Ctx, calls int) bool {
	user := ""
	if c.Auth.ID != "" {
		user = c.Auth.Type + ":" + c.Auth.ID
	}
	return c.server.history.PayPage(&session.Of(c.conn).Pages, user, calls)
}

// recoverRoom does the work of sys.recover for one room.
func recoverRoom(c *Ctx, name string, p room.Position) (history.Recovery, error) {
	if err := names.Room(name); err != nil {
		return history.Recovery{}, err
	}
	if len(p.Epoch) > envelope.MaxEpoch { // it may be kept, and travel
		return history.Recovery{}, errEpoch
	}
	return c.server.sessions.Recover(c, c.conn, name, p)
}
