package hub

import (
	"fmt"
	"strings"
	"testing"
	"time"
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
				s.Publish("r", TextFrame(fmt.Appendf(nil, "%d%s", i, pad)))
			}
			for _, c := range clients {
				for i := range n {
					c.want(0x81, fmt.Sprint(i)+pad)
				}
			}
		})
	}
}
