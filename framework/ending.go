package framework

import (
	"sync/atomic"

	"wsframe/framework/internal/hub"
)

// ending is the close that an action asked for. It waits for the action's reply.
type ending struct{ asked atomic.Pointer[closeFrame] }

type closeFrame struct {
	code   int
	reason string
}

// replied stands in ending.asked when there is no reply to wait for.
var replied = new(closeFrame)

// close closes the connection after the action's reply. The first of several calls counts.
func (e *ending) close(c *hub.Conn, code int, reason string) {
	if !e.asked.CompareAndSwap(nil, &closeFrame{code, reason}) && e.asked.Load() == replied {
		c.Close(code, reason)
	}
}

// reply says that the reply has been sent, or that there is none.
func (e *ending) reply(c *hub.Conn) {
	if f := e.asked.Swap(replied); f != nil && f != replied {
		hub.CloseAfter([]*hub.Conn{c}, f.code, f.reason)
	}
}
