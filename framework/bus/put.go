package bus

import "time"

// Put is Send that reports the outcome: nil means that Redis has the message, or that it was
// delivered. It waits at most Config.Timeout, and not at all where Redis has accepted nothing for
// as long. Without wait it reports only whether Redis has had no memory for as long: any other
// outage is expected to end.
func (b *Bus) Put(m *Message, wait bool) error {
	s := b.shard(m.Key)
	stalled := s.stalled(b.cfg.Timeout, !wait)
	if stalled && m.kept() {
		return ErrNotTaken
	}
	it, err := b.send(m, make(chan error, 1))
	if err != nil || !wait && !stalled {
		return err
	}
	if !stalled {
		limit := time.NewTimer(b.cfg.Timeout)
		defer limit.Stop()
		select {
		case err := <-it.done:
			return err
		case <-limit.C:
		}
	}
	return s.withdraw(it)
}
