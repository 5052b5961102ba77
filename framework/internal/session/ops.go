package session

import (
	"encoding/json"

	"wsframe/framework/internal/ask"
)

// none is the type of a question without fields, and of an answer without a value.
type none = struct{}

// The questions to the node that has a connection. Their fields, and the names of the operations,
// travel between nodes.
type (
	joinQuestion struct {
		Room     string `json:"r,omitempty"`
		Announce bool   `json:"b,omitempty"`
		Kept     bool   `json:"k,omitempty"`
	}
	roomQuestion struct {
		Room string `json:"r,omitempty"`
	}
	uidQuestion struct {
		UID string `json:"u,omitempty"`
	}
	valuesQuestion struct {
		Merge  bool                       `json:"b,omitempty"`
		Values map[string]json.RawMessage `json:"v,omitempty"`
	}
	nameQuestion struct {
		Name string `json:"t,omitempty"`
	}
)

var (
	opJoin           = ask.Op[joinQuestion, none]{Name: "join", Kind: ask.Changes}
	opLeave          = ask.Op[roomQuestion, none]{Name: "leave", Kind: ask.Changes}
	opLeaveAll       = ask.Op[none, none]{Name: "leaveAll", Kind: ask.Changes}
	opBind           = ask.Op[uidQuestion, none]{Name: "bind", Kind: ask.Changes}
	opUnbind         = ask.Op[uidQuestion, none]{Name: "unbind", Kind: ask.Changes}
	opGet            = ask.Op[none, map[string]json.RawMessage]{Name: "session"}
	opSet            = ask.Op[valuesQuestion, none]{Name: "setSession", Kind: ask.Changes}
	opAddKey         = ask.Op[nameQuestion, none]{Name: "addKey"}
	opRemoveKey      = ask.Op[nameQuestion, none]{Name: "removeKey"}
	opAddListener    = ask.Op[nameQuestion, none]{Name: "addListener"}
	opRemoveListener = ask.Op[nameQuestion, none]{Name: "removeListener"}
)
