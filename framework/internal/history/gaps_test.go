package history

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsframe/framework/bus"
)

// begun is a store with a room in which the first push has come to two members.
func begun(t *testing.T) (*store, *member, *member) {
	t.Helper()
	s := newStore(t)
	a, b := s.member(1, "R"), s.member(2, "R")
	s.keep(1, 1)
	s.comes(1)
	synctest.Wait()
	a.want(t, "1")
	b.want(t, "1")
	return s, a, b
}

// settle waits until everything that can be written is.
func settle() { time.Sleep(time.Second) }

// Pushes that were gone before they were read come from the history, once and before the push
// that shows the gap.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, b := begun(t)
		s.keep(31, 1)
		s.comes(31)
		settle()
		a.want(t, offsets(2, 31)...)
		b.want(t, offsets(2, 31)...)
		s.keep(32, 1)
		s.comes(32)
		settle()
		a.want(t, "32")
		if s.reads != 1 {
			t.Errorf("%d reads", s.reads)
		}
	})
}

// A message of another room shows that messages of its shard were gone: the rooms concerned read
// what they missed.
func TestGapOfAShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, _ := begun(t)
		s.keep(5, 1)
		s.Lost(func(key string) bool { return key == "another" })
		settle()
		a.want(t)
		s.Lost(func(key string) bool { return key == "R" })
		settle()
		a.want(t, offsets(2, 5)...)
		s.comes(5) // was on its way
		settle()
		a.want(t)
		s.keep(6, 1)
		s.comes(6)
		settle()
		a.want(t, "6")
	})
}

// The push that has shown a loss is delivered, even if the history was read before that push was
// held.
func TestLostBeforeThePushIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, b := begun(t)
		s.keep(5, 5) // 2 to 4 are gone from the history, too
		s.Before(message(5))
		settle() // what was missed is read, in vain
		s.publish(5)
		settle()
		a.want(t, lostUpTo(4, "gone"), "5")
		b.want(t, lostUpTo(4, "gone"), "5")
	})
}

// Pushes that are held when a loss becomes known are delivered, although the history that was
// read has them, too.
func TestHeldWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, _ := begun(t)
		gate := make(chan struct{})
		s.set(func() { s.gate = gate })
		s.keep(6, 5)
		s.Lost(func(string) bool { return true })
		synctest.Wait() // the read has begun
		s.comes(5)
		s.comes(6)
		close(gate)
		settle()
		a.want(t, lostUpTo(4, "gone"), "5", "6")
	})
}

// Pushes that are gone while the history is read for an earlier gap are not skipped: they are
// read as well.
func TestGapWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, b := begun(t)
		gate := make(chan struct{})
		s.set(func() { s.gate = gate })
		s.keep(3, 1)
		s.Lost(func(string) bool { return true })
		synctest.Wait() // the read gives up to 3
		s.set(func() { s.gate = nil })
		s.keep(6, 1)
		s.comes(6)
		close(gate)
		settle()
		a.want(t, offsets(2, 6)...)
		b.want(t, offsets(2, 6)...)
	})
}

// A gap between pushes that are held is one, too. What is not kept comes, too.
func TestGapAmongTheHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, _ := begun(t)
		gate := make(chan struct{})
		s.set(func() { s.gate = gate })
		s.keep(9, 1)
		s.comes(3)
		s.rooms.Publish("R", Announce(Recovery{Room: "plain"}))
		s.comes(4)
		s.comes(8)
		s.comes(9)
		synctest.Wait()
		close(gate)
		settle()
		var pushes, others []string
		for _, text := range a.take() {
			if strings.HasPrefix(text, "sys") {
				others = append(others, text)
			} else {
				pushes = append(pushes, text)
			}
		}
		if len(others) != 1 || !slices.Equal(pushes, offsets(2, 9)) {
			t.Errorf("got %q and %q", others, pushes)
		}
	})
}

// Members learn which pushes of such a gap are lost.
func TestLossAmongTheHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, _ := begun(t)
		gate := make(chan struct{})
		s.set(func() { s.gate = gate })
		s.keep(9, 8)
		s.comes(3)
		synctest.Wait()
		s.comes(8)
		s.comes(9)
		close(gate)
		settle()
		a.want(t, lostUpTo(7, "gone"), "8", "9")
	})
}

// Another epoch is no continuation: the members learn that theirs has ended.
func TestGapOverAnEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, _ := begun(t)
		s.set(func() { s.page = bus.Page{Epoch: "f", Offset: 7} })
		s.Lost(func(string) bool { return true })
		settle()
		a.want(t, `sysRecovered {"room":"R","recovered":false,"offset":7,"epoch":"f","count":0,"reason":"epoch"}`)
	})
}

// A gap waits some seconds for Redis. Then the members learn from which position on they may ask
// for missed pushes, and get what follows.
func TestGapWithoutRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, _ := begun(t)
		s.set(func() { s.away = true })
		s.keep(5, 1)
		s.comes(5)
		time.Sleep(gapTime - time.Second)
		a.want(t)
		time.Sleep(2 * time.Second)
		a.want(t, lostUpTo(1, Unavailable), "5")
		s.keep(6, 1)
		s.comes(6)
		settle()
		a.want(t, "6")

		// Redis answers again in time.
		s.keep(8, 1)
		s.comes(8)
		time.Sleep(gapTime / 2)
		s.set(func() { s.away = false })
		settle()
		a.want(t, "7", "8")
	})
}

// A room for which too much is held does not wait any longer.
func TestGapOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, _ := begun(t)
		s.set(func() { s.away = true })
		s.comes(3)
		last := int64(3)
		var got []string
		for ; len(got) == 0 && last < 1000; last++ {
			s.comes(last + 1)
			time.Sleep(10 * time.Millisecond)
			got = a.take()
		}
		if last > 50 {
			t.Errorf("%d pushes were held", last)
		}
		if want := append([]string{lostUpTo(2, "tooMany")}, offsets(3, last)...); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// GiveUp notifies the members at once, whatever Redis does.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, _ := begun(t)
		s.set(func() { s.gate = make(chan struct{}) })
		s.comes(3)
		synctest.Wait()
		begin := time.Now()
		s.GiveUp()
		if waited := time.Since(begin); waited > 0 {
			t.Errorf("it has waited %v", waited)
		}
		settle()
		a.want(t, lostUpTo(1, Unavailable), "3")
		s.GiveUp() // nothing is open
	})
}
