//go:build unix

package log

import (
	"os"
	"os/signal"
	"syscall"
)

// keepAlive prevents writes from ending or stopping the process. Go ends a process at a broken pipe
// on descriptor 1 or 2 unless it handles SIGPIPE, and a terminal may stop a background process that
// writes. It uses Notify, because children would inherit an ignored SIGPIPE.
func keepAlive() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signal.Ignore(syscall.SIGTTOU)
}
