package hub

import "time"

// allowance is how many messages may still come on a connection, by MessageRate and MessageBurst. It travels with the connection.
type allowance struct {
	tokens  float64 // messages that may still come, refilled at each read
	filled  time.Time
	seconds int64         // of the clock at that time
	lost    time.Duration // likewise
	deaf    time.Duration // for so long nobody has read since then
}

func (a *allowance) init(cfg *Config, k *clock) {
	a.tokens, a.filled = float64(cfg.MessageBurst), cfg.now()
	a.seconds, a.lost = k.seconds.Load(), time.Duration(k.lost.Load())
}

// refill is called once a read. A silent client saves up the burst at most. Time in which
// nobody could read is the server's own: what came meanwhile is let through in full.
func (a *allowance) refill(cfg *Config, k *clock, listening bool) {
	if cfg.MessageRate == 0 {
		return
	}
	now := cfg.now()
	rate, burst := float64(cfg.MessageRate), float64(cfg.MessageBurst)
	lost := k.lostAt(now)
	gap := lost - a.lost
	heard := now.Sub(a.filled) - a.deaf - gap
	if !listening {
		a.deaf, heard = a.deaf+heard, 0
	}
	if heard > time.Second { // nothing is left of what had waited
		a.tokens, a.deaf = min(a.tokens, burst), 0
	}
	a.tokens = max(a.tokens, min(burst, a.tokens+heard.Seconds()*rate)) + (a.deaf+gap).Seconds()*rate
	a.filled, a.seconds, a.lost, a.deaf = now, k.seconds.Load(), lost, 0
}

// listens notes that the reader is about to wait: what has passed since it read was the server's time.
func (a *allowance) listens(cfg *Config, k *clock) {
	if cfg.MessageRate > 0 && k.seconds.Load() != a.seconds { // less than a tick is the burst's matter
		a.deaf = cfg.now().Sub(a.filled)
	}
}
