package reload

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wsframe/framework/internal/ask"
)

// A frame of a fan-out travels once for all its connections; a frame that is not shared is copied.
func TestRelayShares(t *testing.T) {
	m := newRelay()
	frame := []byte("frame")
	m.Relay(1, frame, 1, nil, true)
	m.Relay(2, frame, 1, nil, true)
	own := []byte("own")
	m.Relay(1, own, 1, nil, false)
	copy(own, "xxx")
	m.RelayClose(2, 4001, "done")
	m.actionEnded(7)
	relays, done := m.drain()
	if len(relays) != 3 || len(done) != 1 || done[0] != 7 {
		t.Fatalf("%+v, %v", relays, done)
	}
	if len(relays[0].FDs) != 2 || string(relays[1].Frames) != "own" || relays[2].Code != 4001 {
		t.Errorf("%+v", relays)
	}
	if relays, done = m.drain(); relays != nil || done != nil {
		t.Errorf("a second time: %+v, %v", relays, done)
	}
}

// A question waits for its answer, for its context, or for the end of the transfer.
func TestRelayAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRelay()
		go func() {
			<-m.changed
			relays, _ := m.drain()
			m.resolve(ask.Findings{ID: relays[0].Ask.ID + 1}) // of no question
			m.resolve(ask.Findings{ID: relays[0].Ask.ID, Replies: []ask.Reply{{Count: 5}}})
		}()
		f, err := m.Ask(t.Context(), ask.Inquiry{})
		if err != nil || len(f.Replies) != 1 || f.Replies[0].Count != 5 {
			t.Errorf("%+v, %v", f, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = m.Ask(ctx, ask.Inquiry{}); !errors.Is(err, ask.ErrPartial) || len(m.questions) != 0 {
			t.Errorf("nobody answers: %v", err)
		}
		time.AfterFunc(time.Second, m.close)
		if _, err = m.Ask(t.Context(), ask.Inquiry{}); !errors.Is(err, ask.ErrPartial) {
			t.Errorf("the transfer ends: %v", err)
		}
		if _, err = m.Ask(t.Context(), ask.Inquiry{}); !errors.Is(err, ask.ErrPartial) {
			t.Errorf("after the transfer: %v", err)
		}
		m.RelayClose(1, 4001, "done")
		if relays, _ := m.drain(); relays != nil {
			t.Errorf("after the transfer: %+v", relays)
		}
	})
}
