//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wsframe/framework/manager"
)

// deskBinary builds testdata/desk once, without changes.
var deskBinary = sync.OnceValue(func() string { return filepath.Join(filepath.Dir(console), "desk") })

var deskOnce sync.Once

func desk(t *testing.T) string {
	deskOnce.Do(func() { buildDesk(t, deskBinary()) })
	return deskBinary()
}

// runAs starts cmd with an output of its own, and waits until the server answers.
func (s *server) runAs(cmd *exec.Cmd) {
	s.t.Helper()
	s.begin(cmd)
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

// A server whose output nobody reads, or can read, continues to serve: actions that print and log,
// reloads, and the stop.
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
			worker := s.status().WorkerPID
			if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
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

// shout makes the worker print more than pipes can hold.
func shout(p *peer) {
	p.t.Helper()
	for range 5 {
		shoutOnce(p)
	}
}

// shoutOnce makes the worker print as much as its Outputs hold: 100 KiB on each of its two streams.
func shoutOnce(p *peer) {
	p.t.Helper()
	p.send(`{"method":"desk.clerk.shout"}`)
	p.want(`"status":500`)
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

// A frozen master costs its worker only lines of output.
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

// terminal opens a pair of pseudo-terminals.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	raw, err := master.SyscallConn() // with Fd, Close would wait for a Read
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var bad error
	err = raw.Control(func(fd uintptr) {
		if bad = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); bad == nil {
			n, bad = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil || bad != nil {
		t.Fatal(err, bad)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

// on makes cmd run in its own session on a terminal.
func on(slave *os.File, cmd *exec.Cmd) *exec.Cmd {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return cmd
}

// Output after the start goes to the log, which is rotated, so console.out does not grow.
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
	worker := s.status().WorkerPID
	const shouts, lines = 10, 2 * 100
	for i := range shouts {
		if i == shouts/2 {
			s.ok("-s", "reload")
		}
		shoutOnce(p)
		// Calls run one at a time, because an Output drops lines that arrive faster than they are
		// read.
		until(t, "what was printed is in the log", func() bool {
			return strings.Count(s.log(), `"line":"shouted `) == (i+1)*lines
		})
	}
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

// A hung worker is detected, reported by status and reload at once, and replaced. systemd receives
// WATCHDOG=1 only while the worker answers.
func TestWorkerHangs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	s := start(t, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=2000000", "WSFRAME_APP_LIMITS_WORKER_HANG=12s")
	reported := func(want string) {
		t.Helper()
		b := make([]byte, 200)
		for {
			if err := socket.SetReadDeadline(time.Now().Add(wait)); err != nil {
				t.Fatal(err)
			}
			n, err := socket.Read(b)
			if err != nil {
				t.Fatalf("%q is not reported: %v", want, err)
			}
			if string(b[:n]) == want {
				return
			}
		}
	}
	reported("READY=1")
	reported("WATCHDOG=1")
	worker := s.status().WorkerPID
	if err := syscall.Kill(worker, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "the status says it", func() bool { return s.status().WorkerState == manager.WorkerHangs })
	if st := s.status(); st.WorkerPID != worker || st.WorkerSilentSeconds < 5 {
		t.Errorf("%+v", st)
	}
	if out := s.ok("-s", "status"); !strings.Contains(out, "hangs") {
		t.Errorf("status:\n%s", out)
	}
	if _, errs, code := s.run("-s", "reload"); code != 1 || !strings.Contains(errs, "hangs") || !oneLine(errs) {
		t.Errorf("reload: %d %s", code, errs)
	}
	until(t, "another worker serves", func() bool {
		st := s.status()
		return st.WorkerState == manager.WorkerServes && st.WorkerPID != worker
	})
	reported("WATCHDOG=1")
	dial(t, s.outside, s.token("guest", "7"))
}

// A reload whose old worker stops answering ends at once, instead of waiting in each of its steps.
func TestReloadHangs(t *testing.T) {
	t.Parallel()
	s := start(t, "WSFRAME_APP_LIMITS_WORKER_HANG=0")
	worker := s.status().WorkerPID
	if err := syscall.Kill(worker, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(worker, syscall.SIGCONT) }()
	if _, errs, code := s.run("-s", "reload"); code != 1 || !strings.Contains(errs, "hangs") {
		t.Errorf("reload: %d %s", code, errs)
	}
	if err := syscall.Kill(worker, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "it answers again", func() bool { return s.status().WorkerState == manager.WorkerServes })
	if out := s.ok("-s", "reload"); !strings.Contains(out, "worker "+strconv.Itoa(worker)) {
		t.Errorf("reload: %s", out)
	}
}

// If the configuration has vanished, a reload is refused, and the old worker continues with its
// own.
func TestReloadLostConfig(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	s.config = filepath.Join(t.TempDir(), "config")
	if err := os.Mkdir(s.config, 0o700); err != nil {
		t.Fatal(err)
	}
	app := filepath.Join(s.config, "app.yaml")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(app, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const text = "auth:\n  key: a secret of more than sixteen bytes\n"
	put(text)
	s.serve(console)
	token := s.token("guest", "7")
	refused := func(how, want string) {
		t.Helper()
		for _, args := range [][]string{{"-s", "reload"}, {"-s", "reload", "-check"}} {
			_, errs, code := s.runIn(s.config, args...)
			if code != 1 || !strings.Contains(errs, want) || !strings.Contains(errs, "the old one goes on") {
				t.Errorf("%s: %d %s", how, code, errs)
			}
		}
		dial(t, s.outside, token)
	}
	put("")
	refused("empty", app+" sets nothing")
	put("# all defaults\n")
	refused("comments only", app+" sets nothing")
	if err := os.Remove(app); err != nil {
		t.Fatal(err)
	}
	refused("missing", app+" is missing")
	if err := os.Rename(s.config, s.config+".away"); err != nil {
		t.Fatal(err)
	}
	refused("no directory", app+" is missing")
	if err := os.Rename(s.config+".away", s.config); err != nil {
		t.Fatal(err)
	}
	put(text)
	s.ok("-s", "reload")
	// A file that was added by a reload is required, too.
	db := filepath.Join(s.config, "db.yaml")
	if err := os.WriteFile(db, []byte("master: {max_open: 4}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok("-s", "reload")
	if err := os.Remove(db); err != nil {
		t.Fatal(err)
	}
	refused("missing after a reload", db+" is missing")
	if _, errs, code := s.run("-s", "restart"); code != 1 || !strings.Contains(errs, db+" is missing") {
		t.Errorf("restart: %d %s", code, errs)
	}
	dial(t, s.outside, token)
}

// runIn runs a command whose configuration directory may be missing, if the server is specified
// otherwise.
func (s *server) runIn(config string, args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	if _, err := os.Stat(config); err != nil {
		config = filepath.Join(root, "config")
	}
	was := s.config
	s.config = config
	defer func() { s.config = was }()
	return s.run(args...)
}

// A first start in an empty directory creates what it needs, and can reload.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	dir := t.TempDir()
	s.launchAs(&exec.Cmd{Path: console, Args: []string{console, "-s", "start"}, Dir: dir}, wait)
	s.ok("-s", "reload")
	key, err := os.ReadFile(filepath.Join(s.dir, "auth.key"))
	if err != nil || strings.TrimSpace(string(key)) != string(key) {
		t.Fatalf("%q %v", key, err)
	}
	// Without the key, the next worker would refuse existing tokens.
	if err := os.Remove(filepath.Join(s.dir, "auth.key")); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := s.run("-s", "reload"); code != 1 || !strings.Contains(errs, "auth.key") {
		t.Errorf("reload: %d %s", code, errs)
	}
}

// A server in the foreground ends with its terminal, unless SIGHUP was ignored at its start. Any
// other SIGHUP reloads.
func TestTerminalCloses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		shell string // shell text before the command
		ends  bool
	}{
		{"foreground", "exec ", true},
		{"below a shell", "", true},
		{"nohup", "exec nohup ", false},
		{"ignored", `trap "" HUP; exec `, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := prepare(t)
			master, slave := terminal(t)
			go func() { _, _ = io.Copy(io.Discard, master) }()
			cmd := on(slave, exec.Command("sh", "-c", tc.shell+console+" -s start -c "+s.config+"; exit"))
			cmd.Dir = t.TempDir() // nohup writes its file there
			s.runAs(cmd)
			_ = slave.Close()
			st := s.status()
			if err := syscall.Kill(st.MasterPID, syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			until(t, "the reload", func() bool { return s.status().WorkerPID != st.WorkerPID })
			pid := s.status().WorkerPID
			_ = master.Close()
			if tc.ends {
				until(t, "the server ends", func() bool { return syscall.Kill(st.MasterPID, 0) != nil && syscall.Kill(pid, 0) != nil })
				return
			}
			until(t, "a reload, behind that which the terminal's signal began", func() bool {
				_, _, code := s.run("-s", "reload")
				return code == 0
			})
			dial(t, s.outside, s.token("guest", "7"))
			s.ok("-s", "stop")
		})
	}
}

// As PID 1 of a container, the master reaps orphaned processes.
func TestReapsAsFirst(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	cmd := exec.Command(console, "-s", "start", "-c", s.config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	}
	// As in a container, /proc belongs to the namespace.
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", "mount -t proc proc /proc && exec " + strings.Join(cmd.Args, " ")}
	s.runAs(cmd)
	first := cmd.Process.Pid
	left := exec.Command("nsenter", "-t", strconv.Itoa(first), "-p", "-m", "sh", "-c", "for i in 1 2 3; do (sleep 0.1 & ) ; done")
	if out, err := left.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	children := func() string {
		out, _ := exec.Command("ps", "-o", "stat=,comm=", "--ppid", strconv.Itoa(first)).Output() // ps fails without children
		return string(out)
	}
	until(t, "the orphans are gone", func() bool { return !strings.Contains(children(), "sleep") })
	dial(t, s.outside, s.token("guest", "7"))
	s.ok("-s", "reload")
}

// The console finds a server with a different environment by the runtime directory.
func TestOtherEnvironment(t *testing.T) {
	t.Parallel()
	s := start(t)
	other := func(dir string, args ...string) (string, string, int) {
		t.Helper()
		cmd := exec.Command(console, args...)
		var out, errs bytes.Buffer
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), "WSFRAME_APP_RUNTIME_DIR="+s.dir), &out, &errs
		_ = cmd.Run() // the exit code shows the result
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}
	dir := t.TempDir()
	if _, errs, code := other(dir, "-s", "start"); code != 1 || !strings.Contains(errs, "already runs") || !strings.Contains(errs, s.manager) {
		t.Errorf("start: %d %s", code, errs)
	}
	out, errs, code := other(dir, "-s", "token", "-id", "7")
	if code != 0 {
		t.Fatalf("token: %d %s", code, errs)
	}
	dial(t, s.outside, strings.TrimSpace(out))
	// In a place where only the manager's address is known, the console gets the key from the
	// running server.
	elsewhere := exec.Command(console, "-s", "token", "-id", "8", "-p", s.manager[strings.LastIndex(s.manager, ":")+1:])
	elsewhere.Dir, elsewhere.Env = dir, os.Environ()
	said, err := elsewhere.Output()
	if err != nil {
		t.Fatal(err)
	}
	dial(t, s.outside, strings.TrimSpace(string(said)))
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("%v was made", list)
	}
	if out, errs, code := other(dir, "-s", "stop"); code != 0 || out != "stopped\n" {
		t.Errorf("stop: %d %s", code, errs)
	}
	<-s.ended
	if _, errs, code := other(dir, "-s", "stop"); code != 1 || !strings.Contains(errs, s.dir) || !oneLine(errs) {
		t.Errorf("stop without a server: %d %s", code, errs)
	}
	// A restart without a running server is a start.
	if out, errs, code := s.run("-s", "restart"); code != 0 || !strings.Contains(out, "started, pid") {
		t.Fatalf("restart: %d %s %s", code, out, errs)
	}
	s.ok("-s", "stop")
}
