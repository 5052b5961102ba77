package process

import (
	"bytes"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
)

// reapOrphans takes the exit status of orphaned processes while this process is PID 1 of a
// container: they would stay zombies. The function that it returns ends that.
func reapOrphans(w *workers) (end func()) {
	if os.Getpid() != 1 {
		return func() {}
	}
	ch, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(ch, syscall.SIGCHLD)
	ch <- syscall.SIGCHLD // for those that have ended before
	go func() {
		defer close(done)
		for range ch {
			w.reap(os.Getpid())
		}
	}()
	return func() {
		signal.Stop(ch)
		close(ch)
		<-done
	}
}

// reap waits for the zombies among the children of self, except for workers: os/exec waits for
// these.
func (w *workers) reap(self int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // only a bad pattern is an error
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid …; the name may hold anything
		f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if len(f) < 2 || string(f[0]) != "Z" || string(f[1]) != strconv.Itoa(self) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && !w.has(pid) {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // it may be reaped already
		}
	}
}
