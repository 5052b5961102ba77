// Package framework is the API of an application: controllers whose methods clients call by
// WebSocket. New makes the App of one worker of its parts, which are the packages below internal.
//
//	type Room struct{ messages *Messages }
//
//	type SayIn struct {
//		Say framework.Str `json:"say" validate:"required,max=500"`
//	}
//
//	// {"method":"chat.room.say","say":"hi","id":1}
//	func (r *Room) Say(c *framework.Ctx, in *SayIn) (*framework.Reply, error) {
//		row, err := r.messages.Create(c, c.Auth, string(in.Say))
//		if err != nil {
//			return nil, saveFailed.Because(err) // the client gets saveFailed, the log gets err
//		}
//		if err := c.Publish("CHAT_"+c.Code(), framework.OK("said", "", row)); err != nil {
//			return nil, err
//		}
//		return framework.OK("saySuccess", "", row.ID), nil
//	}
//
//	framework.Mount("chat.room", &Room{messages})
//
// An action answers with a Reply, with nothing (nil, nil), or with an error. The client gets a Fail
// as it is; any other error becomes 500 controllerError for the client and a line in the log. Hooks
// are the methods Guard, OnMessage, OnClose, OnReload, OnShutdown, OnWorkerStart, OnConnect and
// OnWorkerStop; clients can never call them. Middleware wraps actions. Package frameworktest tests
// an application on a real server.
//
// A controller lives with the process and is called by many connections at once: it must be safe
// for concurrent use. The frames of one connection are handled one after the other. A Ctx may be
// kept.
package framework
