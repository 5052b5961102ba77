package log

import (
	"io"
	stdlog "log"
	"os"
	"sync"
	"time"
)

// Stdio separates a process from the readers of its output: a slow or missing reader costs only
// lines.
type Stdio struct {
	Out, Err *Output

	pipes []*os.File // replace os.Stdout and os.Stderr
	pumps sync.WaitGroup
}

// Guard puts Outputs in front of os.Stdout, os.Stderr and the standard log, for the rest of the
// process. A write to a broken pipe no longer ends the process. Only the Go runtime's own output of
// a crash bypasses the Outputs.
func Guard() *Stdio {
	keepAlive()
	s := &Stdio{Out: NewOutput(os.Stdout), Err: NewOutput(os.Stderr)}
	os.Stdout, os.Stderr = s.pipe(os.Stdout, s.Out), s.pipe(os.Stderr, s.Err)
	stdlog.SetOutput(s.Err)
	return s
}

// pipe returns a file for code that prints to os.Stdout or os.Stderr.
func (s *Stdio) pipe(was *os.File, to *Output) *os.File {
	r, w, err := os.Pipe()
	if err != nil {
		return was // without descriptors, this output is not guarded
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

// Close writes the remaining data, but waits no longer than limit.
func (s *Stdio) Close(limit time.Duration) {
	end := time.Now().Add(limit)
	for _, w := range s.pipes {
		_ = w.Close()
	}
	pumped := make(chan struct{})
	go func() { s.pumps.Wait(); close(pumped) }()
	select {
	case <-pumped:
	case <-time.After(limit): // a child process still has the write end
	}
	s.Out.Close(time.Until(end))
	s.Err.Close(time.Until(end))
}

// Lost returns the number of dropped lines.
func (s *Stdio) Lost() int64 { return s.Out.Lost() + s.Err.Lost() }
