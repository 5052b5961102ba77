package snapshot

import "github.com/alicebob/miniredis/v2/server"

// wave is a save that several callers share.
type wave struct {
	done chan struct{}
	err  error
}

// Barrier waits until everything that was written before the call is on the disk. Callers during a
// save share the next one, so many callers cost little more than one.
func (s *Store) Barrier() error {
	if s.path == "" {
		return nil
	}
	s.waveMu.Lock()
	w := s.next
	if w == nil {
		w = &wave{done: make(chan struct{})}
		s.next = w
		go s.run(w)
	}
	s.waveMu.Unlock()
	<-w.done
	return w.err
}

func (s *Store) run(w *wave) {
	defer close(w.done)
	s.saving.Lock()
	defer s.saving.Unlock()
	s.waveMu.Lock()
	s.next = nil // later callers may have written after the begin of this save
	s.waveMu.Unlock()
	if s.file == nil {
		w.err = errNoFile
		return
	}
	w.err = s.append(frameCommit)
}

// waitAOF is the command WAITAOF of Redis 7.2. It answers when everything that the connection has
// written before is on the disk.
func (s *Store) waitAOF(c *server.Peer, _ string, _ []string) {
	of := connectionOf(c)
	switch {
	case of == nil || !of.authenticated && !of.nested:
		c.WriteError("NOAUTH Authentication required.")
		return
	case of.nested || of.transaction != nil: // the save would wait for the script
		c.WriteError("ERR WAITAOF is not allowed in scripts and transactions")
		return
	}
	if err := s.Barrier(); err != nil {
		c.WriteError("ERR " + err.Error())
		return
	}
	c.WriteLen(2)
	c.WriteInt(1)
	c.WriteInt(0)
}
