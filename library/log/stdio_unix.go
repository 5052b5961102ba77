//go:build unix

package log

import (
	"os"
	"os/signal"
	"syscall"
)

// keepAlive has no write end or stop this process: Go ends it at a broken pipe on descriptor 1 or 2 unless SIGPIPE is
// asked for, and a terminal may stop who writes in the background. Notify, since children would inherit an ignored SIGPIPE.
func keepAlive() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signal.Ignore(syscall.SIGTTOU)
}
