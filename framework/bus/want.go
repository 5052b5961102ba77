package bus

import (
	"context"
	"sync"
	"time"
)

// Want is called before a room gets a member here, whatever members it has; done after that, or
// instead. From then on everything is received that is sent to the room after Want has returned.
//
// It waits for Redis only where no room of the same sub-stream has members here and the node reads
// few of them: for two or three calls, at most Config.Timeout. Where Redis does not answer in that
// time, the room may also get older messages: those that were sent since this node has last read.
func (b *Bus) Want(ctx context.Context, room string) (done func()) {
	if b.cfg.lanes() == 0 {
		return func() {}
	}
	s, lane := b.place(room, true)
	wait, wake := s.interest.want(lane)
	done = sync.OnceFunc(func() { s.interest.release(lane) })
	if wait == nil {
		return done
	}
	if wake {
		go s.rouse()
	}
	limit := time.NewTimer(b.cfg.Timeout)
	defer limit.Stop()
	select {
	case <-wait:
		return done
	case <-limit.C:
	case <-ctx.Done():
	}
	s.interest.giveUp(lane)
	return done
}

// Wanted reports whether Want would return at once.
func (b *Bus) Wanted(room string) bool {
	if b.cfg.lanes() == 0 {
		return true
	}
	s, lane := b.place(room, true)
	s.interest.mu.Lock()
	defer s.interest.mu.Unlock()
	w := &s.interest.wishes[lane]
	return w.read || w.early || s.interest.failing || s.interest.paused
}
