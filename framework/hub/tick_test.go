package hub

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"wsframe/framework/internal/wire"
)

// What a busy room collects in one tick is never more than a member's outbox takes.
func TestTickFitsTheOutbox(t *testing.T) {
	for name, cfg := range map[string]Config{
		"frames": {OutboxMessages: 16},
		"bytes":  {OutboxBytes: 8 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.RoomFlush = 50 * time.Millisecond
			s := serve(t, cfg)
			clients := []*client{s.dial(), s.dial()}
			s.waitFor("both", func() bool { return s.Len() == 2 })
			s.Each(func(c *Conn) bool { _, err := s.Join(c, "r"); return err == nil })
			const n = 100
			pad := strings.Repeat(".", 500)
			for i := range n {
				s.Publish("r", wire.TextFrame(fmt.Appendf(nil, "%d%s", i, pad)))
			}
			for _, c := range clients {
				for i := range n {
					c.want(0x81, fmt.Sprint(i)+pad)
				}
			}
		})
	}
}

// What goes to everybody is written as to a room's members: whoever sends it does not wait for their writes.
func TestBroadcastDoesNotWrite(t *testing.T) {
	s := serve(t, Config{})
	var clients []*client
	for range inlineMembers + 1 {
		clients = append(clients, s.dial())
	}
	s.waitFor("all", func() bool { return s.Len() == len(clients) })
	for _, c := range s.all() {
		c.mu.Lock() // none can be written to
	}
	n := s.Broadcast(wire.TextFrame([]byte("news")))
	for _, c := range s.all() {
		c.mu.Unlock()
	}
	if n != len(clients) {
		t.Errorf("%d of %d", n, len(clients))
	}
	for _, c := range clients {
		c.want(0x81, "news")
	}
}

// A stop comes behind the pushes of the running tick.
func TestDrainBehindTheTick(t *testing.T) {
	s := serve(t, Config{RoomFlush: 50 * time.Millisecond})
	clients := []*client{s.dial(), s.dial(), s.dial()}
	s.waitFor("all", func() bool { return s.Len() == len(clients) })
	s.Each(func(c *Conn) bool { _, err := s.Join(c, "r"); return err == nil })
	const n = 20
	for i := range n {
		s.Publish("r", wire.TextFrame(fmt.Append(nil, i)))
		s.Broadcast(wire.TextFrame(fmt.Append(nil, "all")))
	}
	done := make(chan error, 1)
	go func() { done <- s.Drain(t.Context(), wire.CloseGoingAway, "stop", 0) }()
	for _, c := range clients {
		room, all := 0, 0
		for {
			first, p, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			if first == 0x88 {
				break
			}
			if string(p) == "all" {
				all++
			} else if string(p) == fmt.Sprint(room) {
				room++
			}
		}
		if room != n || all != n {
			t.Errorf("%d and %d of %d came before the close frame", room, all, n)
		}
		_ = c.nc.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
