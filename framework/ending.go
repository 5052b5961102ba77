package framework

import (
	"sync/atomic"

	"wsframe/framework/internal/hub"
)

// ending is what waits for the action's reply: the close that it asked for, and its streams.
type ending struct {
	asked  atomic.Pointer[closeFrame]
	begins atomic.Pointer[beginning]
}

// beginning is what begins after the reply, and the link to what was added before.
type beginning struct {
	f    func()
	next *beginning
}

// begun stands in ending.begins when there is no reply to wait for.
var begun = new(beginning)

// after calls f after the action's reply, or at once.
func (e *ending) after(f func()) {
	b := &beginning{f: f}
	for {
		b.next = e.begins.Load()
		if b.next == begun {
			f()
			return
		}
		if e.begins.CompareAndSwap(b.next, b) {
			return
		}
	}
}

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
	for b := e.begins.Swap(begun); b != nil && b != begun; b = b.next {
		b.f()
	}
	if f := e.asked.Swap(replied); f != nil && f != replied {
		hub.CloseAfter([]*hub.Conn{c}, f.code, f.reason)
	}
}
