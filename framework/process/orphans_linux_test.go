package process

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Orphans are reaped, workers are not: os/exec waits for them.
func TestReapOrphans(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }()
	out, err := exec.Command("sh", "-c", "sleep 0 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	orphan, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	worker := exec.Command("true")
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	w := &workers{live: map[*child]struct{}{{pid: worker.Process.Pid}: {}}}
	until(t, "the orphan is gone", func() bool {
		w.reap(os.Getpid())
		_, err := os.Stat("/proc/" + strconv.Itoa(orphan))
		return os.IsNotExist(err)
	})
	until(t, "the worker has ended", func() bool { return !alive(worker.Process.Pid) })
	w.reap(os.Getpid())
	if err := worker.Wait(); err != nil {
		t.Errorf("the worker's status was taken: %v", err)
	}
}
