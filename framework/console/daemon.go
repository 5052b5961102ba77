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
)

// envDetached is the variable by which a master knows that `start -d` has started it, and waits for
// a word on descriptor 3.
const envDetached = "WSFRAME_DETACHED"

// maxConsoleOut is the size in bytes beyond which console.out is emptied. Servers print there only
// until they serve.
const maxConsoleOut = 1 << 20

// daemon starts servers in the background.
type daemon struct {
	settings *settings
	out      *output
}

// start starts the master in a session of its own and waits until it serves or has failed.
func (d *daemon) start() error {
	cfg, err := d.settings.load()
	if err != nil {
		return err
	}
	self, err := executable()
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
	cmd := exec.Command(self, "-s", "start", "-c", d.settings.dir)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(slices.Clone(d.settings.env), envDetached+"=1"), out, out
	cmd.ExtraFiles = []*os.File{theirs}
	process.Detach(cmd)
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	_ = ready.SetReadDeadline(time.Now().Add(daemonTime))
	word, err := io.ReadAll(ready)
	printed, _ := os.ReadFile(out.Name()) // only for people
	switch {
	case len(word) > 0:
		fmt.Fprintf(d.out.out, "%s\nstarted, pid %d\n", tailOf(printed, from), cmd.Process.Pid)
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the server has not come up in %v; see %s", daemonTime, out.Name())
	}
	err = cmd.Wait()
	printed, _ = os.ReadFile(out.Name())
	if why := lastError(tailOf(printed, from)); why != "" {
		return fmt.Errorf("the server did not start: %s", why)
	}
	return fmt.Errorf("the server did not start (%s); see %s", cmp.Or(cmd.ProcessState.String(), fmt.Sprint(err)), out.Name())
}

// daemonTime is how long `start -d` waits for the server.
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
		_ = out.Truncate(0) // the next start tries again
	}
	return out, nil
}

// lastError returns the last error that a command has printed, with all that follows it.
func lastError(printed string) string {
	at := strings.LastIndex("\n"+printed, "\n"+failed)
	if at < 0 {
		return ""
	}
	return strings.TrimSpace(printed[at+len(failed):])
}

// tailOf returns what follows the offset from, at most its last 2,000 bytes.
func tailOf(b []byte, from int64) string {
	if int(from) < len(b) {
		b = b[from:]
	}
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return string(b)
}
