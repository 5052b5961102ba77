package manager

import (
	"net"
	"testing"
	"time"
)

// bounded is a connection that knows its read deadline. before runs before the next one is set.
type bounded struct {
	net.Conn
	end    time.Time
	before func()
}

func (b *bounded) SetReadDeadline(t time.Time) error {
	if f := b.before; f != nil {
		b.before = nil
		f()
	}
	b.end = t
	return nil
}

func (b *bounded) SetDeadline(t time.Time) error { b.end = t; return nil }

// A goodbye bounds the connection, whatever else sets bounds: a server's stop waits for it.
func TestGoodbyeStays(t *testing.T) {
	short := func(t *testing.T, b *bounded) {
		t.Helper()
		if b.end.IsZero() || time.Until(b.end) > stopTime {
			t.Errorf("the bound is %v", b.end)
		}
	}
	for _, d := range []time.Duration{0, idleTime} {
		c, b := &session{}, &bounded{}
		c.leave(b)
		c.allowIdle(b, d)
		short(t, b)

		c, b = &session{}, &bounded{}
		b.before = func() { c.leave(b) } // in the middle of allowIdle
		c.allowIdle(b, d)
		short(t, b)
	}
	c, b := &session{}, &bounded{}
	if c.allowIdle(b, idleTime); time.Until(b.end) < idleTime/2 {
		t.Errorf("without a goodbye the bound is %v", b.end)
	}
	if c.allowIdle(b, 0); !b.end.IsZero() {
		t.Errorf("there is a bound, %v", b.end)
	}
}
