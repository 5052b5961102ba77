//go:build unix

package process

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// spawn starts a worker process.
func (w *workers) spawn(env []string) (*child, error) {
	conn, theirs, err := controlPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	c := newChild(&tail{Lines: lines(w.cfg.Stderr)}, w.roster.count)
	out := lines(w.cfg.Stdout)
	cmd := exec.Command(w.cfg.Command[0], w.cfg.Command[1:]...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = &out, c.tail // always read, so that the worker never waits
	cmd.ExtraFiles = append([]*os.File{theirs}, w.listeners...)
	// Processes that the worker has started may outlive it with its output. They must not hide its
	// end.
	cmd.WaitDelay = outputTime
	// The directory is found by its name: a symbolic link may lead to another release by now.
	if info, err := os.Stat(w.dir); err == nil && info.IsDir() {
		cmd.Dir = w.dir
	}
	// The worker is not in the terminal's process group: only the master acts on Ctrl-C.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	w.spawning.Lock() // a reaper of orphans must know it
	defer w.spawning.Unlock()
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	c.pid, c.hangLimit = cmd.Process.Pid, w.cfg.HangTime
	c.kill = func() { _ = cmd.Process.Kill() }
	c.peer = newPeer(conn, c.handle)
	w.track(c)
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
		case <-c.peer.gone: // its last messages have been read
		case <-time.After(outputTime):
			c.peer.close()
		}
		w.untrack(c)
		close(c.exited)
	}()
	return c, nil
}

// outputTime is how long a worker's output is read after its end.
const outputTime = 2 * time.Second

// Detach makes cmd run in a session of its own, without a terminal.
func Detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
