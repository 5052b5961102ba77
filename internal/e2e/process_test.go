//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// deskBinary is testdata/desk as it stands, built once.
var deskBinary = sync.OnceValue(func() string { return filepath.Join(filepath.Dir(console), "desk") })

var deskOnce sync.Once

func desk(t *testing.T) string {
	deskOnce.Do(func() { buildDesk(t, deskBinary()) })
	return deskBinary()
}

// run starts cmd, whose output is not the test's, and waits until the server answers.
func (s *server) runAs(cmd *exec.Cmd) {
	s.t.Helper()
	cmd.Env, s.cmd = s.env, cmd
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { s.exit = cmd.Wait(); close(s.ended) }()
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(wait):
			_ = cmd.Process.Kill()
			<-s.ended
			s.t.Error("the server had to be killed")
		}
	})
	s.untilServes()
}

func (s *server) untilServes() {
	s.t.Helper()
	until(s.t, "the server answers", func() bool {
		select {
		case <-s.ended:
			s.t.Fatalf("the server has ended: %v\n%s", s.exit, s.log())
		default:
		}
		_, _, code := s.run("-s", "status")
		return code == 0
	})
}

// A server whose output nobody reads, or can read any more, serves on: actions that print and log, reloads, and the stop.
func TestOutputLost(t *testing.T) {
	t.Parallel()
	program := desk(t)
	for _, tc := range []struct {
		name string
		make func(t *testing.T, args ...string) *exec.Cmd
	}{
		{"nobody reads", func(t *testing.T, args ...string) *exec.Cmd {
			cmd := exec.Command(args[0], args[1:]...)
			_, cmd.Stdout = pipe(t)
			cmd.Stderr = cmd.Stdout
			return cmd
		}},
		{"the reader has gone", func(t *testing.T, args ...string) *exec.Cmd {
			cmd := exec.Command(args[0], args[1:]...)
			r, w := pipe(t)
			_ = r.Close()
			cmd.Stdout, cmd.Stderr = w, w
			return cmd
		}},
		{"closed", func(t *testing.T, args ...string) *exec.Cmd {
			return exec.Command("sh", "-c", "exec "+strings.Join(args, " ")+" <&- >&- 2>&-")
		}},
		{"a full disk", func(t *testing.T, args ...string) *exec.Cmd {
			return exec.Command("sh", "-c", "exec "+strings.Join(args, " ")+" >/dev/full 2>&1")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := prepare(t)
			s.runAs(tc.make(t, program, "-s", "start", "-c", s.config))
			p := dial(t, s.outside, s.token("guest", "7"))
			shout(p)
			if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			worker := s.status().WorkerPID
			until(t, "the reload", func() bool { return s.status().WorkerPID != worker })
			shout(p)
			s.ok("-s", "stop")
			<-s.ended
			if s.exit != nil {
				t.Error(s.exit)
			}
		})
	}
}

// shout has the worker print more than pipes hold.
func shout(p *peer) {
	p.t.Helper()
	for range 5 {
		p.send(`{"method":"desk.clerk.shout"}`)
		p.want(`"status":500`)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

// A frozen master costs its worker lines only.
func TestOutputFrozenMaster(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	s.serve(desk(t))
	p := dial(t, s.outside, s.token("guest", "7"))
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }()
	shout(p)
}

// terminal makes a pair of pseudo-terminals.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

// on has cmd run in a session of its own on a terminal.
func on(slave *os.File, cmd *exec.Cmd) *exec.Cmd {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return cmd
}

// What is said after the start goes to the log, which is rotated: console.out does not grow.
func TestDaemonOutput(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	program := desk(t)
	cmd := exec.Command(program, "-s", "start", "-d", "-c", s.config)
	cmd.Env = s.env
	said, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "outside  ws://") || !strings.Contains(string(said), "started, pid ") {
		t.Fatalf("%v %s", err, said)
	}
	t.Cleanup(func() { s.run("-s", "stop") })
	path := filepath.Join(s.dir, "logs", "console.out")
	before, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(before), "outside  ws://") {
		t.Fatalf("%v %s", err, before)
	}
	p := dial(t, s.outside, s.token("guest", "7"))
	shout(p)
	worker := s.status().WorkerPID
	s.ok("-s", "reload")
	shout(p)
	until(t, "what was printed is in the log", func() bool {
		return strings.Count(s.log(), `"msg":"printed"`) >= 2*5*2*100
	})
	if n := strings.Count(s.log(), `"msg":"action failed"`); n > 10 {
		t.Errorf("what is logged is there %d times", n)
	}
	if s.status().WorkerPID == worker {
		t.Error("not reloaded")
	}
	s.ok("-s", "stop")
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("%v console.out has grown by %s", err, after[min(len(before), len(after)):])
	}
}
