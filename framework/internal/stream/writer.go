package stream

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"go.uber.org/zap"
)

// Writer is the producer's side of a stream. It is a context that ends with the stream; its cause
// (context.Cause) says why. It is safe for concurrent use, but for the order of the parts.
type Writer struct {
	context.Context
	cancel context.CancelCauseFunc

	streams *Streams
	id      string
	fd      int64
	out     *pipe  // to the worker that has the home; nil = this one. Guarded by Streams.mu
	rest    []byte // the beginning of a letter, until it is whole; guarded by Streams.mu
}

// Write appends a part. A letter whose bytes come in several calls belongs to the part of its last
// byte; bytes that are no UTF-8 become U+FFFD. It waits while a reload moves the stream, and where
// the parts of this worker are read too slowly.
//
// The error is ErrTooLarge for a stream of more than MaxText, or the cause of the context.
func (w *Writer) Write(p []byte) (int, error) {
	s := w.streams
	s.mu.Lock()
	whole := append(w.rest, p...)
	n := len(whole)
	for i := 1; i < utf8.UTFMax && i <= n; i++ {
		if utf8.RuneStart(whole[n-i]) {
			if !utf8.FullRune(whole[n-i:]) {
				n -= i
			}
			break
		}
	}
	text := strings.ToValidUTF8(string(whole[:n]), "\ufffd")
	w.rest = append([]byte(nil), whole[n:]...)
	s.mu.Unlock()
	if err := w.add(text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteString appends a part, as Write does.
func (w *Writer) WriteString(text string) (int, error) { return w.Write([]byte(text)) }

// add appends valid text, in parts of at most maxPart.
func (w *Writer) add(text string) error {
	for len(text) > 0 {
		n := len(text)
		if n > maxPart {
			for n = maxPart; !utf8.RuneStart(text[n]); n-- {
			}
		}
		if err := w.part(text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

func (w *Writer) part(text string) error {
	s := w.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.frozen || w.out != nil && w.out.full() && w.Err() == nil {
		s.moved.Wait()
	}
	if w.Err() != nil {
		return context.Cause(w)
	}
	if w.out != nil {
		w.out.queue(message{Stream: w.id, Text: text})
		return nil
	}
	h := s.homes[w.id]
	if h == nil || s.gone {
		w.cancel(ErrDrained)
		return ErrDrained
	}
	if !s.add(h, text) {
		s.endHome(h, TooLarge, ErrTooLarge)
		return ErrTooLarge
	}
	return nil
}

// finish ends the stream after its producer.
func (w *Writer) finish(err error) {
	s := w.streams
	s.mu.Lock()
	rest := w.rest
	s.mu.Unlock()
	if len(rest) > 0 && err == nil {
		err = w.add("\ufffd")
	}
	reason := Done
	switch cause := context.Cause(w); {
	case cause != nil: // the stream has its end
		reason = reasonOf(cause)
	case err != nil:
		reason = Failed
		s.cfg.Log.Error("the producer of a stream failed", zap.Int64("fd", w.fd), zap.Error(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.frozen {
		s.moved.Wait()
	}
	delete(s.writers, w.id)
	w.cancel(context.Canceled)
	if w.out != nil {
		w.out.queue(message{Stream: w.id, End: reason})
	} else if h := s.homes[w.id]; h != nil {
		s.endHome(h, reason, nil)
	}
}

// reasonOf is the reason of an end, by its cause.
func reasonOf(cause error) string {
	for reason, err := range map[string]error{Cancelled: ErrCancelled, Left: ErrLeft, TooLarge: ErrTooLarge, Drained: ErrDrained} {
		if errors.Is(cause, err) {
			return reason
		}
	}
	return Failed
}

// causeOf is the cause of a Writer's end, by the reason.
func causeOf(reason string) error {
	switch reason {
	case Cancelled:
		return ErrCancelled
	case Left:
		return ErrLeft
	case TooLarge:
		return ErrTooLarge
	}
	return ErrDrained
}
