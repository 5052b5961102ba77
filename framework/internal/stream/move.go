package stream

import (
	"encoding/json"
	"os"
	"time"
)

// Moved is a part of what moves: a message of a transfer.
type Moved struct {
	Pipes   [][]byte    `json:"p,omitempty"` // what was read of each, in the first message; their files come with it
	Streams []movedHome `json:"h,omitempty"`
}

type movedHome struct {
	ID      string
	FD      int64
	Owner   string `json:",omitempty"`
	From    int    // index of its pipe; -1 = the producer has ended
	Text    string
	Ends    []int
	End     string `json:",omitempty"`
	Ago     time.Duration
	Clients []movedClient
}

type movedClient struct {
	FD    int64
	Sent  int
	Ended bool `json:",omitempty"`
}

// export is what Thaw and Release need of an Export.
type export struct {
	own    *pipe // ours, for the producers of this worker
	theirs *os.File
	passed []*pipe
}

// messageBytes is about how much text goes into one message of a transfer.
const messageBytes = 256 << 10

// Export stops the streams and returns their state, and the pipes of their producers, one of which
// is new. Producers and clients wait until Thaw or Release.
func (s *Streams) Export() (list []Moved, files []*os.File, err error) {
	s.mu.Lock()
	s.frozen = true
	homes := make([]*home, 0, len(s.homes))
	for _, h := range s.homes {
		homes = append(homes, h)
	}
	e := &export{}
	s.export = e
	in := s.in
	s.mu.Unlock()
	for _, h := range homes { // what is being sent now is sent
		h.sending.Lock()
		h.sending.Unlock() //nolint:staticcheck // that is the wait
	}
	index := map[*pipe]int{}
	first := Moved{}
	for _, p := range in {
		rest := p.halt()
		index[p] = len(e.passed)
		e.passed = append(e.passed, p)
		first.Pipes = append(first.Pipes, rest)
		files = append(files, p.file)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ours, theirs, err := pair()
	if err != nil {
		return nil, nil, err
	}
	e.own, e.theirs = newPipe(ours, nil), theirs
	first.Pipes = append(first.Pipes, []byte{})
	files = append(files, theirs)
	now, m, size := time.Now(), first, 0
	for _, h := range s.homes {
		v := movedHome{ID: h.id, FD: h.who.FD, Owner: h.who.Owner, From: -1, Text: h.text.String(), Ends: h.ends, End: h.end}
		if v.Ago = now.Sub(h.seen); h.end != "" {
			v.Ago = now.Sub(h.ended)
		}
		if i, ok := index[h.from]; ok {
			v.From = i
		} else if h.from == nil && s.writers[h.id] != nil {
			v.From = len(e.passed)
		}
		for fd, c := range h.clients {
			v.Clients = append(v.Clients, movedClient{fd, c.sent, c.ended})
		}
		m.Streams = append(m.Streams, v)
		if size += len(v.Text); size >= messageBytes {
			list, m, size = append(list, m), Moved{}, 0
		}
	}
	return append(list, m), files, nil
}

// Thaw undoes Export.
func (s *Streams) Thaw() {
	s.mu.Lock()
	e := s.export
	if !s.frozen || e == nil {
		s.mu.Unlock()
		return
	}
	s.frozen, s.export = false, nil
	s.moved.Broadcast()
	s.mu.Unlock()
	for _, p := range e.passed {
		s.listen(p)
	}
	if e.own != nil {
		e.own.close()
		_ = e.theirs.Close()
	}
}

// Release is called when the next worker has the streams. The producers of this one go on there.
func (s *Streams) Release() {
	s.mu.Lock()
	e := s.export
	if !s.frozen || e == nil {
		s.mu.Unlock()
		return
	}
	s.out = e.own
	s.out.room = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.moved.Broadcast()
	}
	for _, w := range s.writers {
		if w.out == nil {
			w.out = s.out
		}
	}
	out := s.out
	out.listen(s.cancelled, func() { s.deserted(out) })
	_ = e.theirs.Close()
	s.frozen, s.export, s.gone, s.in = false, nil, true, nil
	for _, h := range s.homes {
		h.ring()
	}
	s.homes, s.total = map[string]*home{}, 0
	s.moved.Broadcast()
	s.mu.Unlock()
	for _, p := range e.passed {
		p.close()
	}
}

// cancelled ends a producer that the worker with the home of its stream has given up.
func (s *Streams) cancelled(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.writers[m.Stream]; w != nil && m.Cancel != "" {
		w.cancel(causeOf(m.Cancel))
		s.moved.Broadcast()
	}
}

// deserted ends all producers: the worker with the homes of their streams has ended.
func (s *Streams) deserted(out *pipe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.writers {
		if w.out == out {
			w.cancel(ErrDrained)
		}
	}
	s.moved.Broadcast()
}

// listen receives what producers of an earlier worker write.
func (s *Streams) listen(p *pipe) {
	p.listen(func(m message) { s.received(p, m) }, func() { s.lost(p) })
}

// Import goes on with streams of the previous worker, whose clients are served here now.
func (s *Streams) Import(list []Moved, files []*os.File) {
	var pipes []*pipe
	s.mu.Lock()
	s.gone = false
	now := time.Now()
	for _, m := range list {
		for i, rest := range m.Pipes {
			if i < len(files) {
				pipes = append(pipes, newPipe(files[i], rest))
			}
		}
		for i := range m.Streams {
			v := &m.Streams[i]
			h := s.newHome(v.ID, Who{v.FD, v.Owner})
			h.text.WriteString(v.Text)
			h.ends, h.end = v.Ends, v.End
			h.seen, h.ended = now.Add(-v.Ago), now.Add(-v.Ago)
			s.total += len(v.Text)
			if v.From >= 0 && v.From < len(pipes) {
				h.from = pipes[v.From]
			}
			for _, c := range v.Clients {
				h.clients[c.FD] = &client{sent: c.Sent, ended: c.Ended}
			}
			s.pumps.Go(h.pump)
		}
	}
	s.in = append(s.in, pipes...)
	s.mu.Unlock()
	for _, p := range pipes {
		s.listen(p)
	}
}

// Encode encodes a message.
func (m Moved) Encode() ([]byte, error) { return json.Marshal(m) }

// Decode decodes a message.
func Decode(b []byte) (m Moved, err error) { return m, json.Unmarshal(b, &m) }
