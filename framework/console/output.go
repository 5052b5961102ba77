package console

import (
	"fmt"
	"io"
	"time"

	"wsframe/library/log"
)

// failed begins the line that says why a command has failed.
const failed = "console: "

// output is where a command prints. Its writers escape control characters.
type output struct {
	out, err io.Writer
	stdio    *log.Stdio // nil until guard
}

func newOutput(stdout, stderr io.Writer) *output {
	return &output{out: log.Escaped(stdout), err: log.Escaped(stderr)}
}

// guard keeps this process, a server's, from waiting for whoever reads what it prints.
func (o *output) guard() {
	o.stdio = log.Guard()
	o.out, o.err = o.stdio.Out, o.stdio.Err
}

// flush gives a reader a moment for the last lines.
func (o *output) flush() {
	if o.stdio != nil {
		o.stdio.Close(time.Second)
	}
}

// report prints a command's error and returns its exit code.
func (o *output) report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(o.err, failed+err.Error())
	return 1
}
