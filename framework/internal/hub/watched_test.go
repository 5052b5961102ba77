package hub

import (
	"fmt"
	"runtime"
	"testing"

	"wsframe/framework/internal/wire"
)

// Actions that were taken for quick ones and are not cost other connections nothing: the watchdog
// takes the loop over, and the connection goes on.
func TestInlineActions(t *testing.T) {
	s := serve(t, Config{})
	s.quick = true
	open := make(chan struct{})
	s.on = func(c *Conn, data []byte) {
		switch string(data) {
		case "wait":
			<-open
		case "spin":
			for spins := true; spins; {
				select {
				case <-open:
					spins = false
				default:
				}
			}
		case "panic":
			panic("on purpose")
		case "exit":
			runtime.Goexit()
		case "publish":
			s.Publish("room", wire.TextFrame([]byte("published")))
			return
		case "close":
			c.Close(4001, "enough")
			return
		case "done":
			<-c.Done()
			return
		}
		echo(c, data)
	}
	var others []*client
	for range 5 {
		others = append(others, s.dial())
	}
	for _, what := range []string{"wait", "spin"} {
		open = make(chan struct{})
		c := s.dial()
		c.text(what)
		c.text("after")
		for round := range 20 {
			for _, o := range others {
				o.text(fmt.Sprint(round))
			}
			for _, o := range others {
				o.want(0x81, fmt.Sprint(round))
			}
		}
		close(open)
		c.want(0x81, what)
		c.want(0x81, "after")
		c.text("again")
		c.want(0x81, "again")
	}
	c := s.dial()
	for range 20 {
		for _, what := range []string{"panic", "exit"} {
			c.text(what)
			c.text("alive")
			c.want(0x81, "alive")
			others[0].text("alive")
			others[0].want(0x81, "alive")
		}
	}
	s.Each(func(c *Conn) bool { _, _ = c.Join("room"); return true })
	c.text("publish")
	c.want(0x81, "published")
	others[1].want(0x81, "published")
	c.text("close")
	c.wantClose(4001)
	gone := s.dial()
	gone.text("done")
	_ = gone.nc.Close()
	s.waitFor("the end of its action", func() bool { return s.Len() == len(others)+2 })
}

// A burst of frames is answered in its order, whichever goroutine handles them.
func TestInlineOrder(t *testing.T) {
	s := serve(t, Config{OutboxMessages: 1 << 20, OutboxBytes: 64 << 20})
	n := 0
	s.quick = true
	s.on = func(c *Conn, data []byte) {
		if n++; n%50 == 0 {
			runtime.Goexit()
		}
		echo(c, data)
	}
	c := s.dial()
	const count = 5000
	go func() {
		var b []byte
		for i := range count {
			b = append(b, frameBytes(0x81, fmt.Append(nil, i))...)
			if i%7 == 0 {
				b = append(b, frameBytes(0x01, []byte("f"))...)
				b = append(b, frameBytes(0x80, nil)...)
			}
			if len(b) > i%3000 {
				c.raw(b)
				b = nil
			}
		}
		c.raw(append(b, frameBytes(0x81, []byte("end"))...))
	}()
	last := -1
	for {
		_, p, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		if string(p) == "end" {
			break
		}
		if i := 0; string(p) != "f" {
			if _, err := fmt.Sscan(string(p), &i); err != nil || i <= last {
				t.Fatalf("%q after %d", p, last)
			}
			last = i
		}
	}
}

// An action that waits keeps no read buffer, and the frames that follow it are not lost.
func TestWaitingActionKeepsNoBuffer(t *testing.T) {
	s := serve(t, Config{})
	s.quick = false
	begun, open := make(chan *Conn), make(chan struct{})
	s.on = func(c *Conn, data []byte) {
		if string(data) == "wait" {
			begun <- c
			<-open
		}
		echo(c, data)
	}
	c := s.dial()
	for range 2 { // by the loop, then by a goroutine that reads
		c.raw(append(frameBytes(0x81, []byte("wait")), frameBytes(0x81, []byte("after"))...))
		conn := <-begun
		conn.mu.Lock()
		if conn.in.watched.loop != nil && (conn.in.pooled != nil || cap(conn.in.buf) > 100) {
			t.Errorf("a buffer of %d bytes is kept", cap(conn.in.buf))
		}
		conn.mu.Unlock()
		c.text("later")
		open <- struct{}{}
		c.want(0x81, "wait")
		c.want(0x81, "after")
		c.want(0x81, "later")
	}
}
