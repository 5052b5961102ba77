package log

import (
	"io"
	stdlog "log"
	"os"
	"sync"
	"time"
)

// Stdio is what a process prints, kept apart from those who read it: a reader that is slow, stuck or gone costs lines only.
type Stdio struct {
	Out, Err *Output

	pipes []*os.File // in place of os.Stdout and os.Stderr
	pumps sync.WaitGroup
}

// Guard puts Outputs before os.Stdout, os.Stderr and the standard log, for the rest of the process. A write to a broken pipe
// no longer ends it. Only the Go runtime's own words, of a crash, go past it.
func Guard() *Stdio {
	keepAlive()
	s := &Stdio{Out: NewOutput(os.Stdout), Err: NewOutput(os.Stderr)}
	os.Stdout, os.Stderr = s.pipe(os.Stdout, s.Out), s.pipe(os.Stderr, s.Err)
	stdlog.SetOutput(s.Err)
	return s
}

// pipe makes a file for those who print by themselves.
func (s *Stdio) pipe(was *os.File, to *Output) *os.File {
	r, w, err := os.Pipe()
	if err != nil {
		return was // no descriptors: these prints are not guarded
	}
	s.pipes = append(s.pipes, w)
	s.pumps.Go(func() {
		defer r.Close()
		lines := &Lines{W: to}
		_, _ = io.Copy(lines, r) // until the end
		lines.End()
	})
	return w
}

// Close writes what is left, at most for the limit.
func (s *Stdio) Close(limit time.Duration) {
	end := time.Now().Add(limit)
	for _, w := range s.pipes {
		_ = w.Close()
	}
	pumped := make(chan struct{})
	go func() { s.pumps.Wait(); close(pumped) }()
	select {
	case <-pumped:
	case <-time.After(limit): // somebody else holds an end
	}
	s.Out.Close(time.Until(end))
	s.Err.Close(time.Until(end))
}

// Lost is the number of lines that were dropped.
func (s *Stdio) Lost() int64 { return s.Out.Lost() + s.Err.Lost() }
