//go:build unix

package process

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// socketFile gives a listener's descriptor to children. It is a file in blocking mode: handing it to a child must not change
// the mode of the socket that another worker accepts on, which os.File.Fd does to a file that was made non-blocking.
func socketFile(ln *net.TCPListener) (*os.File, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	if err := raw.Control(func(v uintptr) {
		fd, dupErr = syscall.Dup(int(v))
		if dupErr == nil {
			syscall.CloseOnExec(fd)
		}
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, dupErr
	}
	// The flag belongs to the socket, not to the descriptor; workers set it again, before they accept.
	if err := syscall.SetNonblock(fd, false); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "listener"), nil
}

// controlPair makes the two ends of a control channel: ours, and the child's as a file.
func controlPair() (net.Conn, *os.File, error) {
	ours, theirs, err := socketPair("control")
	if err != nil {
		return nil, nil, err
	}
	conn, err := net.FileConn(ours) // a duplicate, non-blocking
	_ = ours.Close()
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

func inheritConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "control")
	if f == nil {
		return nil, fmt.Errorf("descriptor %d is not open", fd)
	}
	defer f.Close() // FileConn duplicates, with close-on-exec
	return net.FileConn(f)
}

func inheritListener(fd int) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), "listener")
	if f == nil {
		return nil, fmt.Errorf("descriptor %d is not open", fd)
	}
	defer f.Close()
	return net.FileListener(f)
}

// spawn starts a worker process.
func (m *Master) spawn(env []string) (*child, error) {
	conn, theirs, err := controlPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	c := newChild(&tail{Lines: lines(m.cfg.Stderr)}, m.count)
	out := lines(m.cfg.Stdout)
	cmd := exec.Command(m.cfg.Command[0], m.cfg.Command[1:]...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = &out, c.tail // pipes that are always read: the worker never waits for who reads ours
	cmd.ExtraFiles = append([]*os.File{theirs}, m.files...)
	// What the worker has started may outlive it and hold its output: that must not hide its end.
	cmd.WaitDelay = outputTime
	// The name, not the inode: a release that is switched by a symbolic link is found there.
	if info, err := os.Stat(m.dir); err == nil && info.IsDir() {
		cmd.Dir = m.dir
	}
	// Not in the terminal's group: Ctrl-C is the master's to act on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	m.spawning.Lock() // who reaps orphans must know it
	defer m.spawning.Unlock()
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	c.pid, c.hangLimit = cmd.Process.Pid, m.cfg.HangTime
	c.kill = func() { _ = cmd.Process.Kill() }
	c.peer = newPeer(conn, c.handle)
	m.track(c)
	go func() {
		err := cmd.Wait()
		out.End()
		c.tail.End()
		c.status = cmd.ProcessState.String()
		if cmd.ProcessState == nil {
			c.status = err.Error()
		}
		c.clean = err == nil
		select {
		case <-c.peer.gone: // what it said last has been read
		case <-time.After(outputTime):
			c.peer.close()
		}
		m.untrack(c)
		close(c.exited)
	}()
	return c, nil
}

// outputTime is how long a worker's output is read after its end.
const outputTime = 2 * time.Second

// Detach has cmd run in a session of its own, without a terminal.
func Detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
