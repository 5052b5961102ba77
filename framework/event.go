package framework

import "reflect"

// EventOf is an event of the server whose param is a T. Event makes one.
type EventOf[T any] struct{ name, info string }

// Event declares an event that the server sends. At most one info is used: the text for people that
// goes with it. Declare events as package variables; `console -s types` then lists them, and New
// refuses one name with two types.
//
//	var said = framework.Event[Message]("said", "收到聊天消息")
//
//	err := c.Publish(room, said.With(m), framework.Keep(100, time.Hour))
//	err = c.Server().SendToUID(uid, said.With(m))
func Event[T any](name string, info ...string) EventOf[T] {
	declared.Event(name, paramOf(reflect.TypeFor[T]()))
	return eventOf[T](name, info)
}

func eventOf[T any](name string, info []string) EventOf[T] {
	e := EventOf[T]{name: name}
	if len(info) > 0 {
		e.info = info[0]
	}
	return e
}

// Name returns the event's name.
func (e EventOf[T]) Name() string { return e.name }

// With makes the frame of the event with a param, for all that sends: Publish, SendToFD, SendToUID,
// SendToRoom, SendToAll, Reach, and as the reply of an action. The status is 200.
func (e EventOf[T]) With(param T) *Reply {
	r := &Reply{Status: 200, Event: e.name, Info: e.info, Param: param}
	if _, none := r.Param.(None); none {
		r.Param = nil
	}
	return r
}
