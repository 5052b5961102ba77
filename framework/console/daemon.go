package console

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wsframe/framework/process"
	"wsframe/library/config"
	"wsframe/library/log"
)

// envDetached tells a master that start -d has made it, and waits on descriptor 3 for it to serve.
const envDetached = "WSFRAME_DETACHED"

// maxConsoleOut is the size in bytes beyond which console.out begins anew. It holds what servers say at their start only.
const maxConsoleOut = 1 << 20

// startDaemon starts the master in a session of its own and waits until it serves or has failed.
func (c *console) startDaemon(cfg *config.Config) error {
	self, err := program()
	if err != nil {
		return err
	}
	out, err := openConsoleOut(cfg.App.Runtime.Dir)
	if err != nil {
		return err
	}
	defer out.Close()
	from, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(self, "-s", "start", "-c", c.configDir)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(slices.Clone(c.env), envDetached+"=1"), out, out
	cmd.ExtraFiles = []*os.File{theirs}
	process.Detach(cmd)
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	_ = ready.SetReadDeadline(time.Now().Add(daemonTime))
	word, err := io.ReadAll(ready)
	said, _ := os.ReadFile(out.Name()) // only for people
	switch {
	case len(word) > 0:
		fmt.Fprintf(c.out, "%s\nstarted, pid %d\n", tailOf(said, from), cmd.Process.Pid)
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the server has not come up in %v; see %s", daemonTime, out.Name())
	}
	err = cmd.Wait()
	said, _ = os.ReadFile(out.Name())
	if why := lastWord(tailOf(said, from)); why != "" {
		return fmt.Errorf("the server did not start: %s", why)
	}
	return fmt.Errorf("the server did not start (%s); see %s", cmp.Or(cmd.ProcessState.String(), fmt.Sprint(err)), out.Name())
}

// daemonTime is how long start -d waits for the server.
const daemonTime = time.Minute

func openConsoleOut(runtimeDir string) (*os.File, error) {
	logs := filepath.Join(runtimeDir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return nil, fmt.Errorf("the runtime directory cannot be made: %w", err)
	}
	out, err := os.OpenFile(filepath.Join(logs, "console.out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the runtime directory cannot be written: %w", err)
	}
	if info, err := out.Stat(); err == nil && info.Size() > maxConsoleOut {
		_ = out.Truncate(0) // else it begins anew another time
	}
	return out, nil
}

// detached gives the pipe to the start -d that has made this process; nil where none has.
func (c *console) detached() *os.File {
	if os.Getenv(envDetached) == "" {
		return nil
	}
	_ = os.Unsetenv(envDetached)
	c.env = slices.DeleteFunc(slices.Clone(c.env), func(kv string) bool { return strings.HasPrefix(kv, envDetached+"=") })
	return inheritedFile(3, "start -d")
}

// detach ends what is said at the start: from now on nobody reads console.out, and all goes to the log, which is rotated.
func (c *console) detach(parent *os.File, l *log.Logger) {
	if parent == nil {
		return
	}
	l.Hush()
	c.stdio.Out.Redirect(l.Printed())
	c.stdio.Err.Redirect(l.Printed())
	_, _ = parent.WriteString("serves\n") // it may have been ended
	_ = parent.Close()
}

// lastWord is what a console that has failed has said last.
func lastWord(said string) string {
	at := strings.LastIndex("\n"+said, "\n"+sayer)
	if at < 0 {
		return ""
	}
	return strings.TrimSpace(said[at+len(sayer):])
}

func tailOf(b []byte, from int64) string {
	if int(from) < len(b) {
		b = b[from:]
	}
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return string(b)
}
