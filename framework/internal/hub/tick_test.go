package hub

import (
	"fmt"
	"testing"
	"time"

	"wsframe/framework/internal/wire"
)

// Close frames of a stop follow the pushes of the running tick.
func TestDrainAfterTheTick(t *testing.T) {
	s := serve(t, Config{RoomFlush: 50 * time.Millisecond})
	clients := []*client{s.dial(), s.dial(), s.dial()}
	s.waitFor("all", func() bool { return s.Len() == len(clients) })
	s.Each(func(c *Conn) bool { _, err := c.Join("r"); return err == nil })
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
