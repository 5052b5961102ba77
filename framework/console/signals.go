package console

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/process"
)

// signals: SIGTERM and Ctrl-C stop gracefully and, a second time, at once; SIGHUP reloads; SIGUSR1 reopens the logs. A server on a
// terminal, which may be nil, stops when that is closed.
func (c *console) signals(ctx context.Context, m *process.Master, t *terminal, l *zap.Logger) {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, append([]os.Signal{os.Interrupt, syscall.SIGTERM}, extraSignals...)...)
	defer signal.Stop(ch)
	look := time.NewTicker(time.Second)
	defer look.Stop()
	hup := t != nil && t.whole
	for {
		var s os.Signal
		select {
		case s = <-ch:
			l.Info("signal", zap.Stringer("signal", s))
			hup = hup || isReload(s)
		case <-look.C:
		case <-ctx.Done():
			return
		}
		if t != nil && hup && t.gone() {
			l.Info("the terminal was closed; the server stops")
			_ = m.Stop(ctx, true) // it has no error
			t, s = nil, nil
		}
		switch {
		case s == nil:
		case s == os.Interrupt || s == syscall.SIGTERM:
			_ = m.Stop(ctx, true) // it has no error
		case isReload(s):
			go func() {
				if _, err := m.Reload(ctx, false); err != nil {
					fmt.Fprintln(c.err, "console: reload:", err)
				}
			}()
		default:
			m.ReopenLogs()
		}
	}
}
