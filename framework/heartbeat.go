package framework

import (
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
	"wsframe/library/config"
)

// heartbeats are the application-level heartbeat texts, each with the frame that answers it.
type heartbeats struct {
	answers map[string]wire.Frame
	longest int
}

func newHeartbeats(list []string) (h heartbeats, err error) {
	texts, err := config.HeartbeatTexts(list)
	h.answers = make(map[string]wire.Frame, len(texts))
	for text, answer := range texts {
		var f wire.Frame
		if answer != "" {
			f = wire.TextFrame([]byte(answer))
		}
		h.answers[text], h.longest = f, max(h.longest, len(text))
	}
	return h, err
}

// answer replies to a heartbeat. It reports whether data is one.
func (h *heartbeats) answer(c *hub.Conn, data []byte) bool {
	if len(data) > h.longest {
		return false
	}
	answer, ok := h.answers[string(data)]
	if ok && answer.Len() > 0 {
		_ = c.Send(answer) // gone or slow: its close path is running
	}
	return ok
}
