package framework

import (
	"context"
	"errors"

	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/stream"
)

// StreamWriter is what the producer of a stream writes into, each Write a part: an io.Writer of
// UTF-8 text. It is a context that ends with the stream; context.Cause says why:
// ErrStreamCancelled, ErrStreamLeft, ErrStreamTooLarge or ErrStreamDrained. Writes after that
// return the cause.
type StreamWriter = stream.Writer

// StreamOut is the param of the reply that announces a stream.
type StreamOut struct {
	Stream string `json:"stream"` // its number, which the client finds in each part
}

var (
	// ErrStreamCancelled says that the client has cancelled the stream (sys.cancel).
	ErrStreamCancelled = stream.ErrCancelled
	// ErrStreamLeft says that no client has read the stream for 30 s.
	ErrStreamLeft = stream.ErrLeft
	// ErrStreamTooLarge says that the stream has more than 1 MiB of text.
	ErrStreamTooLarge = stream.ErrTooLarge
	// ErrStreamDrained says that the producer's worker ends: the server stops, or a reload is
	// longer ago than limits.stream_drain.
	ErrStreamDrained = stream.ErrDrained
)

var (
	errStreams  = NewFail(429, "tooManyStreams", "进行中的流过多，请稍后再试")
	errNoStream = NewFail(404, "streamNotFound", "没有这个流")
)

// Stream answers with a text whose parts come one after the other, such as the tokens of a language
// model. The action returns what Stream returns, and produce goes on in a goroutine of its own.
//
//	func (a *Assistant) Ask(c *framework.Ctx, in *AskIn) (*framework.StreamOut, error) {
//		return framework.Stream(c, func(w *framework.StreamWriter) error {
//			return model.Complete(w, in.Prompt, w) // a context and an io.Writer
//		})
//	}
//
// The client gets the parts after the reply, several at once where it is slow. It goes on after a
// reconnect by sys.resume, and ends the stream by sys.cancel. A reload leaves produce in its
// worker, for up to limits.stream_drain. An error of produce goes to the log; the client gets the
// reason failed.
//
// A stream has at most 1 MiB of text and all streams of a worker 64 MiB; a connection has at most 8
// that go on. Beyond that the error is a Fail, 429 tooManyStreams.
func Stream(c *Ctx, produce func(w *StreamWriter) error) (*StreamOut, error) {
	id, begin, err := c.server.streams.Start(clientOf(c), produce)
	if err != nil {
		return nil, errStreams.Because(err)
	}
	c.ending.after(begin)
	return &StreamOut{id}, nil
}

// clientOf is the client of a stream.
func clientOf(c *Ctx) stream.Who {
	who := stream.Who{FD: c.FD}
	if c.Auth.ID != "" {
		who.Owner = c.Auth.Type + ":" + c.Auth.ID
	}
	return who
}

// streamQuestion asks the node that has a stream. The names of its fields travel between nodes.
type streamQuestion struct {
	Stream string `json:"s"`
	FD     int64  `json:"c"`
	After  int    `json:"a,omitempty"`
	Owner  string `json:"u,omitempty"`
}

var (
	opResume = ask.Op[streamQuestion, struct{}]{Name: "streamResume", Kind: ask.Changes, First: true}
	opCancel = ask.Op[streamQuestion, struct{}]{Name: "streamCancel", Kind: ask.Changes, First: true}
)

// newStreams makes the streams of a worker, and registers the questions of other nodes.
func newStreams(s *Server, nodes *ask.Nodes, find func(fd int64) *hub.Conn, alone bool, protect func(what string, f func())) *stream.Streams {
	streams := stream.New(stream.Config{
		Send: func(fd int64, param any) error {
			event := "sysStreamPart"
			if _, end := param.(stream.End); end {
				event = "sysStreamEnd"
			}
			return s.SendToFD(fd, OK(event, "", param))
		},
		Waiting: func(fd int64) (int, bool) {
			c := find(fd)
			if c == nil {
				return 0, false
			}
			bytes, _ := c.Pending()
			return bytes, true
		},
		Alive: func(fd int64) bool {
			if alone {
				return false
			}
			ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
			defer cancel()
			online, err := s.IsOnline(ctx, fd)
			return online || err != nil
		},
		Protect: protect, Log: s.log,
	})
	ask.Handle(nodes, opResume, func(_ int64, q streamQuestion) ask.Answer[struct{}] {
		return ask.Answer[struct{}]{Found: streams.Resume(q.Stream, q.FD, q.After)}
	})
	ask.Handle(nodes, opCancel, func(_ int64, q streamQuestion) ask.Answer[struct{}] {
		return ask.Answer[struct{}]{Found: streams.Cancel(q.Stream, stream.Who{FD: q.FD, Owner: q.Owner})}
	})
	return streams
}

// askStream asks the node that has the stream.
func askStream(c *Ctx, op ask.Op[streamQuestion, struct{}], id string, after int) (*None, error) {
	who := clientOf(c)
	found, err := ask.Any(c, c.server.nodes, op, id, streamQuestion{id, who.FD, after, who.Owner})
	if errors.Is(err, ErrPartial) {
		err = nil
	}
	if err == nil && !found {
		err = errNoStream
	}
	return nil, err
}
