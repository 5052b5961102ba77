package stream

import (
	"strings"
	"sync"
	"time"
)

// home has the text of a stream and the clients that read it. Streams.mu guards all of it.
type home struct {
	streams *Streams
	id      string
	who     Who
	from    *pipe // from the producer of an earlier worker; nil = it is here, or has ended

	text      strings.Builder
	ends      []int             // where each part ends in text
	end       string            // reason of the end; "" = it goes on
	ended     time.Time         // when
	clients   map[int64]*client // by connection
	seen      time.Time         // when there was a client last
	bell      chan struct{}     // 1; wakes the pump
	asked     time.Time         // when it was asked whether clients of other nodes are there
	forgotten bool
	sending   sync.Mutex // held while the pump sends; taken before Streams.mu
}

// client is how far a connection has a stream.
type client struct {
	sent  int       // parts
	ended bool      // it has the end
	next  time.Time // when it may get a frame again
}

// newHome makes the home of a new stream. mu is held.
func (s *Streams) newHome(id string, who Who) *home {
	h := &home{streams: s, id: id, who: who, clients: map[int64]*client{}, seen: time.Now(), bell: make(chan struct{}, 1)}
	s.homes[id] = h
	return h
}

// add appends a part, or reports that the stream has too much text. mu is held.
func (s *Streams) add(h *home, text string) bool {
	if h.text.Len()+len(text) > MaxText {
		return false
	}
	h.text.WriteString(text)
	h.ends = append(h.ends, h.text.Len())
	s.total += len(text)
	h.ring()
	return true
}

// begin adds the first client, from the beginning. mu is held.
func (h *home) begin(fd int64) {
	h.clients[fd] = &client{}
	h.ring()
}

func (h *home) ring() {
	select {
	case h.bell <- struct{}{}:
	default:
	}
}

// delivery is one frame for one client.
type delivery struct {
	fd    int64
	param any
}

// pump sends the clients what they lack, until the stream is forgotten or has moved.
func (h *home) pump() {
	looked := time.Now()
	timer := time.NewTimer(around)
	defer timer.Stop()
	for {
		wait, over := h.send()
		if over {
			return
		}
		if wait > 0 {
			timer.Reset(wait)
			select {
			case <-h.bell:
			case <-timer.C:
			}
		}
		if time.Since(looked) >= around {
			looked = time.Now()
			h.look()
		}
	}
}

// send sends one frame to each client that lacks something, and returns when to call it again.
func (h *home) send() (wait time.Duration, over bool) {
	h.sending.Lock()
	defer h.sending.Unlock()
	list, wait, over := h.due()
	for _, d := range list {
		if h.streams.cfg.Send(d.fd, d.param) != nil {
			h.leave(d.fd)
		}
	}
	return wait, over
}

// due takes the frames that are due. Their clients count as having them.
func (h *home) due() (list []delivery, wait time.Duration, over bool) {
	s := h.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = around
	switch {
	case s.gone, h.forgotten:
		return nil, 0, true
	case s.frozen:
		return nil, retry, false
	}
	now := time.Now()
	for fd, c := range h.clients {
		if c.ended || c.sent == len(h.ends) && h.end == "" {
			continue
		}
		if pause := c.next.Sub(now); pause > 0 {
			wait = min(wait, pause)
			continue
		}
		waiting, here := s.cfg.Waiting(fd)
		if waiting > behind || !here { // other nodes get some frames a second
			c.next = now.Add(retry)
			wait = min(wait, retry)
		}
		switch {
		case waiting > behind:
		case c.sent < len(h.ends):
			text, to := h.after(c.sent)
			c.sent = to
			list = append(list, delivery{fd, Part{h.id, to, text}})
			if here && (to < len(h.ends) || h.end != "") {
				wait = 0
			}
		default:
			c.ended = true
			list = append(list, delivery{fd, End{h.id, len(h.ends), h.end}})
		}
	}
	return list, wait, false
}

// after returns the text behind a part, as much as a frame takes, and the number of its last part.
// mu is held.
func (h *home) after(part int) (text string, to int) {
	from := 0
	if part > 0 {
		from = h.ends[part-1]
	}
	to = part + 1
	for to < len(h.ends) && h.ends[to]-from <= maxFrame {
		to++
	}
	return h.text.String()[from:h.ends[to-1]], to
}

// leave removes a client.
func (h *home) leave(fd int64) {
	h.streams.mu.Lock()
	defer h.streams.mu.Unlock()
	delete(h.clients, fd)
}

// look removes clients that have ended, ends a stream that nobody reads, and forgets one that has
// ended for a while.
func (h *home) look() {
	s := h.streams
	s.mu.Lock()
	var absent []int64
	for fd := range h.clients {
		if _, here := s.cfg.Waiting(fd); !here {
			absent = append(absent, fd)
		}
	}
	ask := !s.frozen && time.Since(h.asked) >= askEvery
	if ask {
		h.asked = time.Now()
	}
	s.mu.Unlock()
	for _, fd := range absent {
		if ask && !s.cfg.Alive(fd) {
			h.leave(fd)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen || s.gone {
		return
	}
	now := time.Now()
	if len(h.clients) > 0 {
		h.seen = now
	}
	if h.end == "" && now.Sub(h.seen) >= linger {
		s.endHome(h, Left, ErrLeft)
	}
	if h.end != "" && now.Sub(h.ended) >= keep {
		delete(s.homes, h.id)
		s.total -= h.text.Len()
		h.forgotten = true
	}
}
