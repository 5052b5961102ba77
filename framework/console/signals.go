package console

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/process"
)

// signalHandler does what signals ask of a master: SIGTERM and Ctrl-C stop gracefully and, a second
// time, at once; SIGHUP reloads; SIGUSR1 reopens the logs. A server on a terminal stops when the
// terminal is closed.
type signalHandler struct {
	master   *process.Master
	terminal *terminal // nil = none
	log      *zap.Logger
	err      io.Writer
}

// run handles signals until ctx is done.
func (h *signalHandler) run(ctx context.Context) {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, append([]os.Signal{os.Interrupt, syscall.SIGTERM}, extraSignals...)...)
	defer signal.Stop(ch)
	look := time.NewTicker(time.Second)
	defer look.Stop()
	t := h.terminal
	hup := t != nil && t.whole
	for {
		var s os.Signal
		select {
		case s = <-ch:
			h.log.Info("signal", zap.Stringer("signal", s))
			hup = hup || isReload(s)
		case <-look.C:
		case <-ctx.Done():
			return
		}
		if t != nil && hup && t.gone() {
			h.log.Info("the terminal was closed; the server stops")
			_ = h.master.Stop(ctx, true) // always nil
			t, s = nil, nil
		}
		switch {
		case s == nil:
		case s == os.Interrupt || s == syscall.SIGTERM:
			_ = h.master.Stop(ctx, true) // always nil
		case isReload(s):
			go h.reload(ctx)
		default:
			h.master.ReopenLogs()
		}
	}
}

func (h *signalHandler) reload(ctx context.Context) {
	if _, err := h.master.Reload(ctx, false); err != nil {
		fmt.Fprintln(h.err, "console: reload:", err)
	}
}
