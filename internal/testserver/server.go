//go:build unix

package testserver

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// limit bounds the time from a server's start to its first reply. It is for slow machines.
const limit = 30 * time.Second

// Server is a process of a test. Its methods are for one goroutine.
type Server struct {
	Addr string // host:port
	Dir  string // of its files; removed with the test

	t       testing.TB
	command []string
	ready   func(net.Conn) error // asks over a new connection whether the server works
	cmd     *exec.Cmd
	exited  chan struct{}
	said    *output
}

// output keeps what a server prints, for the error of a failed start.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.b.Bytes()
	return string(b[max(0, len(b)-4000):])
}

// program finds a server's program in PATH and in the sbin directories.
func program(t testing.TB, name, debian string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/local/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed (Debian: apt-get install %s)", name, debian)
	return ""
}

// directory makes a directory with a short path: that of a socket in it must stay below 108 bytes.
func directory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wsframe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// given are the ports that FreePort has returned. The kernel may offer a port again at once.
var given sync.Map

// FreePort returns a TCP port on which nobody listens, and never the same one twice in a process.
// It is safe for concurrent use.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if _, again := given.LoadOrStore(port, true); !again {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// start runs command with a free port, and again with another one where the port was taken
// meanwhile.
func start(t testing.TB, dir string, ready func(net.Conn) error, command func(port int) []string) *Server {
	t.Helper()
	var err error
	for range 3 {
		port := FreePort(t)
		s := &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Dir: dir, t: t, command: command(port), ready: ready}
		if err = s.run(); err == nil {
			t.Cleanup(s.Kill)
			return s
		}
	}
	t.Fatal(err)
	return nil
}

func (s *Server) run() error {
	s.said, s.exited = &output{}, make(chan struct{})
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, s.said, s.said
	cmd.SysProcAttr = attributes()
	started, exited := make(chan error), s.exited
	go func() {
		// the kernel's signal at the parent's death is sent at the death of this thread
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // fails: the process was killed
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	s.cmd = cmd
	if err := s.wait(); err != nil {
		s.Kill()
		return fmt.Errorf("%s: %w\n%s", filepath.Base(s.command[0]), err, s.said)
	}
	return nil
}

// wait returns when the server works or has ended.
func (s *Server) wait() error {
	deadline := time.Now().Add(limit)
	for {
		err := s.ask()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("does not answer at %s: %w", s.Addr, err)
		}
		select {
		case <-s.exited:
			return errors.New("has ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) ask() error {
	c, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	return s.ready(c)
}

// PID returns the process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends the process as kill -9 does, and returns when it has ended. It may be called again.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // fails where the process has ended
	<-s.exited
}

// Restart starts a killed server again, with its address and its files.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.run(); err != nil {
		s.t.Fatal(err)
	}
}

// Freeze stops the process until Thaw. Its connections stay open.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("%v to %s: %v", sig, s.command[0], err)
	}
}
