package hub

import "time"

// allowance is the number of messages that a connection may still send by MessageRate and
// MessageBurst. A move takes it along.
type allowance struct {
	tokens  float64       // messages that may still come
	filled  time.Time     // of the last refill
	seconds int64         // clock.seconds at the last refill
	lost    time.Duration // clock.lost at the last refill
	unread  time.Duration // time since the last refill in which nothing was read
}

func (a *allowance) init(cfg *Config, k *clock) {
	a.tokens, a.filled = float64(cfg.MessageBurst), cfg.now()
	a.seconds, a.lost = k.seconds.Load(), time.Duration(k.lost.Load())
}

// refill adds the tokens of the time since the last read; it is called once for each. A silent
// client saves up the burst at most. Time in which the server did not read adds tokens beyond the
// burst, since the client may have sent at its full rate meanwhile.
func (a *allowance) refill(cfg *Config, k *clock, reads bool) {
	if cfg.MessageRate == 0 {
		return
	}
	now := cfg.now()
	rate, burst := float64(cfg.MessageRate), float64(cfg.MessageBurst)
	lost := k.lostAt(now)
	gap := lost - a.lost
	heard := now.Sub(a.filled) - a.unread - gap
	if !reads {
		a.unread, heard = a.unread+heard, 0
	}
	if heard > time.Second { // everything that had waited is read
		a.tokens, a.unread = min(a.tokens, burst), 0
	}
	a.tokens = max(a.tokens, min(burst, a.tokens+heard.Seconds()*rate)) + (a.unread+gap).Seconds()*rate
	a.filled, a.seconds, a.lost, a.unread = now, k.seconds.Load(), lost, 0
}

// listens notes that the reader is about to wait, so the time since its last read was the server's.
func (a *allowance) listens(cfg *Config, k *clock) {
	if cfg.MessageRate > 0 && k.seconds.Load() != a.seconds { // the burst allows for less than a tick
		a.unread = cfg.now().Sub(a.filled)
	}
}
