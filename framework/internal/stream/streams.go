package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Streams are the streams of a worker: homes, and producers. They are safe for concurrent use.
type Streams struct {
	cfg Config

	mu      sync.Mutex
	moved   *sync.Cond         // signals the end of a freeze, and room in a pipe
	frozen  bool               // a reload is moving the homes
	gone    bool               // the homes belong to the next worker, or are closed
	homes   map[string]*home   // by stream
	writers map[string]*Writer // producers of this worker, by stream
	total   int                // bytes of text of all homes
	out     *pipe              // to the worker that has the homes now; nil = this one
	in      []*pipe            // from producers of earlier workers
	export  *export            // what is being moved

	produce sync.WaitGroup
	pumps   sync.WaitGroup
}

// New makes Streams without any.
func New(cfg Config) *Streams {
	s := &Streams{cfg: cfg, homes: map[string]*home{}, writers: map[string]*Writer{}}
	s.moved = sync.NewCond(&s.mu)
	return s
}

// A Who is the client of a stream.
type Who struct {
	FD    int64
	Owner string // identity, which other connections of the same user share; "" = none
}

// Start makes a stream for a connection and runs its producer. begin starts sending to the client;
// what the producer writes before waits. produce gets a Writer that ends with the stream.
//
// ErrTooMany beyond MaxOpen and MaxTotal.
func (s *Streams) Start(who Who, produce func(*Writer) error) (id string, begin func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.frozen {
		s.moved.Wait()
	}
	open := 0
	for _, h := range s.homes {
		if h.who.FD == who.FD && h.end == "" {
			open++
		}
	}
	if s.gone && s.out == nil || open >= MaxOpen || s.total >= MaxTotal || s.count(who.FD) >= MaxOpen {
		return "", nil, ErrTooMany
	}
	id = rand.Text()
	w := &Writer{streams: s, id: id, fd: who.FD}
	w.Context, w.cancel = context.WithCancelCause(context.Background())
	s.writers[id] = w
	if s.gone {
		w.out = s.out
		w.out.queue(message{Stream: id, Who: &who})
	} else {
		s.pumps.Go(s.newHome(id, who).pump)
	}
	s.produce.Go(func() {
		err := errPanic
		s.cfg.Protect("the producer of a stream", func() { err = produce(w) })
		w.finish(err)
	})
	return id, func() { s.begin(id, who.FD) }, nil
}

// count is the number of producers that a connection has here. mu is held.
func (s *Streams) count(fd int64) (n int) {
	for _, w := range s.writers {
		if w.fd == fd {
			n++
		}
	}
	return n
}

var errPanic = errors.New("the producer has panicked")

// begin adds the first client of a stream, from its beginning.
func (s *Streams) begin(id string, fd int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.frozen {
		s.moved.Wait()
	}
	if h := s.homes[id]; h != nil {
		h.begin(fd)
	} else if s.out != nil {
		s.out.queue(message{Stream: id, Begin: fd})
	}
}

// Resume sends a stream to a connection from behind a part, which the client has. Whoever knows the
// stream may read it. It returns false where there is no such stream here.
func (s *Streams) Resume(id string, fd int64, after int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.frozen {
		s.moved.Wait()
	}
	h := s.homes[id]
	if h == nil {
		return false
	}
	h.clients[fd] = &client{sent: max(0, min(after, len(h.ends)))}
	h.ring()
	return true
}

// Cancel ends a stream for its own client, or for another connection of the same user. It returns
// false where there is no such stream here.
func (s *Streams) Cancel(id string, who Who) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.frozen {
		s.moved.Wait()
	}
	h := s.homes[id]
	if h == nil || h.who.FD != who.FD && (who.Owner == "" || h.who.Owner != who.Owner) {
		return false
	}
	s.endHome(h, Cancelled, ErrCancelled)
	return true
}

// endHome ends a stream and its producer. mu is held.
func (s *Streams) endHome(h *home, reason string, cause error) {
	if h.end != "" {
		return
	}
	h.end, h.ended = reason, time.Now()
	h.ring()
	if cause == nil {
		return
	}
	if w := s.writers[h.id]; w != nil {
		w.cancel(cause)
	} else if h.from != nil {
		h.from.queue(message{Stream: h.id, Cancel: reason})
	}
}

// Producing returns the number of producers that run in this worker.
func (s *Streams) Producing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.writers)
}

// Drain waits until the producers of this worker have ended, and until what they wrote has left.
// When ctx ends it ends the others with the reason Drained.
func (s *Streams) Drain(ctx context.Context) {
	ended := make(chan struct{})
	go func() { s.produce.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		s.mu.Lock()
		for id, w := range s.writers {
			w.cancel(ErrDrained)
			if h := s.homes[id]; h != nil {
				s.endHome(h, Drained, nil)
			} else if w.out != nil {
				w.out.queue(message{Stream: id, End: Drained})
			}
		}
		s.moved.Broadcast()
		s.mu.Unlock()
	}
	s.mu.Lock()
	out, homes := s.out, slices.Collect(maps.Values(s.homes))
	s.mu.Unlock()
	if out != nil {
		out.flush()
	}
	for _, h := range homes { // the last text, and the end
		h.send()
		h.send()
	}
}

// End ends all producers of this worker, with the reason Drained.
func (s *Streams) End() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Drain(ctx)
}

// Close ends all that runs here; Drain comes before. Producers that do not end are left alone.
func (s *Streams) Close() {
	s.mu.Lock()
	s.gone, s.frozen = true, false
	for _, h := range s.homes {
		h.ring()
	}
	for _, w := range s.writers {
		w.cancel(ErrDrained)
	}
	s.moved.Broadcast()
	pipes := s.in
	if s.out != nil {
		pipes = append(pipes, s.out)
	}
	s.in, s.out = nil, nil
	s.mu.Unlock()
	for _, p := range pipes {
		p.close()
	}
	s.pumps.Wait()
}

// received handles what a producer of an earlier worker has written.
func (s *Streams) received(p *pipe, m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.homes[m.Stream]
	if h == nil && m.Who != nil && !s.gone {
		h = s.newHome(m.Stream, *m.Who)
		h.from = p
		s.pumps.Go(h.pump)
		return
	}
	if h != nil && h.from == p && m.Begin != 0 {
		h.begin(m.Begin)
		return
	}
	if h == nil || h.from != p || h.end != "" {
		return
	}
	if m.Text != "" && !s.add(h, m.Text) {
		s.endHome(h, TooLarge, ErrTooLarge)
		return
	}
	if m.End != "" {
		s.endHome(h, m.End, nil)
	}
}

// lost ends the streams of a worker that has ended.
func (s *Streams) lost(p *pipe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.in {
		if other == p {
			s.in = append(s.in[:i], s.in[i+1:]...)
			break
		}
	}
	for _, h := range s.homes {
		if h.from == p && h.end == "" {
			s.cfg.Log.Warn("the worker of a stream has ended", zap.Int64("fd", h.who.FD))
			s.endHome(h, Lost, nil)
		}
	}
}
