//go:build unix

package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"wsframe/framework/manager"
)

const testWait = time.Minute // only a fault needs so long

// output collects what several processes print.
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
	return o.b.String()
}

// server is a master in this process with real workers.
type server struct {
	t      *testing.T
	m      *Master
	dir    string
	script string
	addr   string
	out    output
	logs   *observer.ObservedLogs
	ended  chan struct{}
	err    error // valid once ended is closed
}

func prepare(t *testing.T, script string, change func(*MasterConfig)) *server {
	t.Helper()
	s := &server{t: t, dir: filepath.Join(t.TempDir(), "runtime"), ended: make(chan struct{})}
	s.script = filepath.Join(t.TempDir(), "script")
	s.write(script)
	cfg := testConfig(s.dir, append(os.Environ(), envScript+"="+s.script, "GORACE=atexit_sleep_ms=0"))
	cfg.Stdout, cfg.Stderr = &s.out, &s.out
	core, logs := observer.New(zap.DebugLevel)
	cfg.Log, s.logs = zap.New(core), logs
	if change != nil {
		change(&cfg)
	}
	s.m = New(cfg)
	return s
}

// write says what workers do that are started from now on.
func (s *server) write(script string) {
	s.t.Helper()
	if err := os.WriteFile(s.script, []byte(script), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func start(t *testing.T, script string, change func(*MasterConfig)) *server {
	t.Helper()
	started := make(chan Started, 1)
	s := prepare(t, script, func(cfg *MasterConfig) {
		cfg.Started = func(info Started) { started <- info }
		if change != nil {
			change(cfg)
		}
	})
	go func() { s.err = s.m.Run(context.Background()); close(s.ended) }()
	t.Cleanup(func() {
		_ = s.m.Stop(context.Background(), true)
		s.wait()
		if t.Failed() {
			t.Logf("output:\n%s\nlog: %v", s.out.String(), s.logs.All())
		}
	})
	select {
	case info := <-started:
		s.addr = info.Addrs["outside"]
	case <-s.ended:
		t.Fatalf("the master ended: %v\n%s", s.err, s.out.String())
	case <-time.After(testWait):
		t.Fatalf("the server does not start\n%s", s.out.String())
	}
	return s
}

func (s *server) wait() {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(2 * testWait):
		s.t.Fatal("the master does not end")
	}
}

func (s *server) status() manager.Status {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), testWait)
	defer cancel()
	st, err := s.m.Status(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// client is one connection to a worker.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	pid  int
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t: t, conn: conn, r: bufio.NewReader(conn)}
	if c.pid, err = strconv.Atoi(c.line()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) line() string {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(testWait))
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// echo asks and tells which worker answers.
func (c *client) echo(text string) int {
	c.t.Helper()
	fmt.Fprintln(c.conn, text)
	pid, said, _ := strings.Cut(c.line(), " ")
	n, err := strconv.Atoi(pid)
	if err != nil || said != text {
		c.t.Fatalf("%q is answered %q %q", text, pid, said)
	}
	return n
}

func (c *client) want(line string) {
	c.t.Helper()
	if got := c.line(); got != line {
		c.t.Fatalf("got %q, want %q", got, line)
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(testWait); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not in time: %s", what)
}

// alive tells whether a process runs; one that has ended and is not yet waited for does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(b), ") Z ")
}

func TestServeAndStop(t *testing.T) {
	s := start(t, "", nil)
	c := dial(t, s.addr)
	st := s.status()
	if st.WorkerPID != c.pid || st.MasterPID != os.Getpid() || st.Connections != 1 || st.Version != "test" || st.Store != "embedded" || st.WorkerRestarts != 0 {
		t.Fatalf("%+v", st)
	}
	if pid, err := ReadPID(s.dir); err != nil || pid != os.Getpid() {
		t.Fatalf("pid file: %d %v", pid, err)
	}
	ctx := t.Context()
	if n, err := s.m.Say(ctx, "hello"); n != 5 || err != nil {
		t.Fatalf("say: %d %v", n, err)
	}
	if list, err := s.m.Connections(ctx, 7, 3); err != nil || len(list) != 1 || list[0].FD != 7 || list[0].ID != "xxx" {
		t.Fatalf("connections: %v %v", list, err)
	}
	if _, err := s.m.Connections(ctx, 0, maxControl); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Fatalf("an answer that is too large: %v", err)
	}
	s.m.ReopenLogs()
	if n := s.status().Goroutines; n != 1 {
		t.Fatalf("logs reopened %d times", n)
	}
	if err := s.m.Stop(ctx, true); err != nil {
		t.Fatal(err)
	}
	c.want("bye 1001 server is going away")
	s.wait()
	if s.err != nil {
		t.Fatal(s.err)
	}
	if _, err := ReadPID(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the pid file is left: %v", err)
	}
	if alive(c.pid) {
		t.Fatal("the worker lives on")
	}
	if _, err := s.m.Reload(ctx, false); err == nil {
		t.Fatal("reloaded when stopped")
	}
}

func TestStopByContext(t *testing.T) {
	s := prepare(t, "", nil)
	ctx, cancel := context.WithCancel(t.Context())
	s.m.cfg.Started = func(Started) { cancel() }
	if err := s.m.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// A second stop kills the workers.
func TestSecondStop(t *testing.T) {
	s := start(t, "stubborn", nil)
	c := dial(t, s.addr)
	begun := time.Now()
	for range 2 {
		if err := s.m.Stop(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	s.wait()
	if s.err == nil || alive(c.pid) {
		t.Fatalf("%v", s.err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Fatalf("at once took %v", took)
	}
}

// A worker that does not end is killed after the grace time.
func TestStubbornWorker(t *testing.T) {
	t.Parallel()
	s := start(t, "stubborn", func(c *MasterConfig) { c.StopGrace = 50 * time.Millisecond })
	s.m.roster.killAfter = 50 * time.Millisecond
	c := dial(t, s.addr)
	_ = s.m.Stop(t.Context(), true)
	s.wait()
	if s.err == nil || !strings.Contains(s.err.Error(), "was killed") || alive(c.pid) {
		t.Fatalf("%v", s.err)
	}
}

// A worker that does not boot ends the first start, with its reason.
func TestBootFails(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ script, want, not string }{
		{"exit", "exit status 3):\ncannot find my shoes", ""},
		{"panic", "exit status 2):\npanic: no coffee", ""},
		{"fail", "redis is away", "twice"},
	} {
		t.Run(tc.script, func(t *testing.T) {
			s := prepare(t, tc.script, nil)
			err := s.m.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) || len(err.Error()) > 2*lastSize {
				t.Fatalf("%v", err)
			}
			if tc.not != "" && strings.Contains(s.out.String(), tc.not) {
				t.Fatalf("%s", s.out.String())
			}
			if _, err := ReadPID(s.dir); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("pid file: %v", err)
			}
		})
	}
}

func TestStopWhileBooting(t *testing.T) {
	s := prepare(t, "hang", nil)
	ended := make(chan error, 1)
	go func() { ended <- s.m.Run(context.Background()) }()
	until(t, "worker boots", func() bool { return strings.Contains(s.out.String(), "godot") })
	_ = s.m.Stop(t.Context(), true)
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(testWait):
		t.Fatal("it does not stop")
	}
}

// Faults before the start of a worker are one clear line.
func TestCannotStart(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*MasterConfig)
		want   string
	}{
		{"busy port", func(c *MasterConfig) { c.Sockets[0].Port = port }, "address already in use (config/app.yaml: outside.port)"},
		{"busy manager port", func(c *MasterConfig) { c.Manager.Port = port }, "address already in use (config/app.yaml: manager.port)"},
		{"foreign address", func(c *MasterConfig) { c.Sockets[0].Host = "192.0.2.1" }, "cannot assign requested address (config/app.yaml: outside.port)"},
		{"runtime is a file", func(c *MasterConfig) { c.RuntimeDir = file }, "runtime directory"},
		{"runtime is below a file", func(c *MasterConfig) { c.RuntimeDir = filepath.Join(file, "x") }, "runtime directory"},
		{"no binary", func(c *MasterConfig) { c.Command = []string{filepath.Join(file, "console")} }, "start the worker"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := prepare(t, "", tc.change)
			if err := s.m.Run(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%v", err)
			}
		})
	}
}

// Only one server uses a runtime directory. Files of a dead one do not matter.
func TestSecondStartAndStalePID(t *testing.T) {
	s := start(t, "", nil)
	other := prepare(t, "", func(c *MasterConfig) { c.RuntimeDir = s.dir })
	err := other.m.Run(t.Context())
	if want := fmt.Sprintf("a server already runs with the runtime directory %s (pid %d); its manager is on %s", s.dir, os.Getpid(), s.m.addrs["manager"]); err == nil || err.Error() != want {
		t.Fatalf("%v", err)
	}
	if pid, err := ReadPID(s.dir); err != nil || pid != os.Getpid() {
		t.Fatalf("the refused start touched the pid file: %d %v", pid, err)
	}
	_ = s.m.Stop(t.Context(), true)
	s.wait()
	for _, name := range []string{"wsframe.pid", "wsframe.lock"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte("999999999\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	again := start(t, "", func(c *MasterConfig) { c.RuntimeDir = s.dir })
	if pid, err := ReadPID(s.dir); err != nil || pid != os.Getpid() {
		t.Fatalf("stale pid: %d %v", pid, err)
	}
	dial(t, again.addr)
}

// A crashed worker is restarted; clients that come meanwhile wait (promise S4).
func TestCrash(t *testing.T) {
	t.Parallel()
	s := start(t, "", nil)
	pids := map[int]bool{}
	for i := range 3 {
		c := dial(t, s.addr)
		if pids[c.pid] {
			t.Fatalf("worker %d again", c.pid)
		}
		pids[c.pid] = true
		if i == 2 {
			break
		}
		fmt.Fprintln(c.conn, "crash")
		until(t, "the next one serves", func() bool { st := s.status(); return st.WorkerRestarts == i+1 && st.WorkerPID != 0 })
	}
	crashes := s.logs.FilterMessage("the worker has ended; it is restarted").All()
	if len(crashes) != 2 {
		t.Fatalf("%v", crashes)
	}
	for i, want := range []time.Duration{minBackoff, 2 * minBackoff} {
		f := crashes[i].ContextMap()
		if in, _ := f["in"].(time.Duration); f["status"] != "exit status 7" || in < want/2 || in > want { // jitter
			t.Fatalf("crash %d: %v", i, f)
		}
	}
}

// A worker that does not boot is started again after growing pauses.
func TestCrashAndBadBoot(t *testing.T) {
	t.Parallel()
	s := start(t, "", nil)
	c := dial(t, s.addr)
	s.write("exit")
	fmt.Fprintln(c.conn, "crash")
	until(t, "two failed boots", func() bool { return s.logs.FilterMessage("the worker does not boot").Len() >= 2 })
	if st := s.status(); st.WorkerPID != 0 || st.WorkerRestarts != 1 {
		t.Fatalf("%+v", st)
	}
	if _, err := s.m.Say(t.Context(), "x"); !errors.Is(err, errNoWorker) {
		t.Fatalf("say: %v", err)
	}
	if _, err := s.m.Reload(t.Context(), false); !errors.Is(err, errNoWorker) {
		t.Fatalf("reload: %v", err)
	}
	s.write("")
	dial(t, s.addr)
}

// Stopping while no worker serves.
func TestStopWhileRestarting(t *testing.T) {
	s := start(t, "", nil)
	c := dial(t, s.addr)
	s.write("hang")
	fmt.Fprintln(c.conn, "crash")
	until(t, "the next one hangs", func() bool { return strings.Contains(s.out.String(), "godot") })
	_ = s.m.Stop(t.Context(), true)
	s.wait()
	if s.err != nil {
		t.Fatal(s.err)
	}
}

// A child that a worker leaves behind does not hide the end of the worker.
func TestWorkerLeavesChild(t *testing.T) {
	t.Parallel()
	s := start(t, "leaves-a-child", nil)
	c := dial(t, s.addr)
	s.write("")
	fmt.Fprintln(c.conn, "crash")
	until(t, "the crash is seen", func() bool { return s.status().WorkerRestarts == 1 })
	var pid int
	if _, err := fmt.Sscanf(s.out.String(), "left %d", &pid); err != nil {
		t.Fatalf("%q %v", s.out.String(), err)
	}
	if !alive(pid) {
		t.Fatal("the child was to live on")
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	dial(t, s.addr)
}

// A worker that reads nothing delays no caller beyond its own limit.
func TestFrozenWorker(t *testing.T) {
	s := start(t, "", nil)
	pid := s.status().WorkerPID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// A process stops some moments after the signal was sent: each of its threads on its own.
	until(t, "nobody answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := s.m.Status(ctx)
		return errors.Is(err, context.DeadlineExceeded)
	})
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.status()
}

func TestReload(t *testing.T) {
	s := start(t, "", nil)
	c := dial(t, s.addr)
	s.write("routes")
	r, err := s.m.Reload(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	c.want("bye 1012 server reloads")
	if r.OldPID != c.pid || r.Drained != 1 || r.Moved != 0 || alive(r.OldPID) {
		t.Fatalf("%+v", r)
	}
	if !slices.Equal(r.Added, []string{"live.wall.join"}) || !slices.Equal(r.Removed, []string{"live.user.join"}) || !slices.Equal(r.Changed, []string{"index.index.index"}) {
		t.Fatalf("%+v", r)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "1012") {
		t.Fatalf("%v", r.Notes)
	}
	if c := dial(t, s.addr); c.pid != r.NewPID {
		t.Fatalf("served by %d", c.pid)
	}
	if st := s.status(); st.WorkerPID != r.NewPID || st.WorkerRestarts != 0 || st.Rooms != 1 {
		t.Fatalf("%+v: not settled?", st)
	}
	// The one that came by a reload is watched like the first.
	if err := syscall.Kill(r.NewPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "restarted", func() bool { st := s.status(); return st.WorkerRestarts == 1 && st.WorkerPID != 0 })
}

func TestReloadCheck(t *testing.T) {
	s := start(t, "v1", nil)
	c := dial(t, s.addr)
	for _, script := range []string{"routes v1", "routes v2", "routes"} {
		s.write(script)
		r, err := s.m.Reload(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Added) != 1 || len(r.Removed) != 1 || len(r.Changed) != 1 || strings.Join(r.Breaks, "; ") != "event said: is gone" || alive(r.NewPID) {
			t.Fatalf("%+v", r)
		}
		if said := strings.Join(r.Notes, "; "); strings.Contains(said, "cannot read version 1") != (script != "routes v1") {
			t.Fatalf("%s: %s", script, said)
		}
	}
	if c.echo("x") != c.pid || s.status().WorkerPID != c.pid {
		t.Fatal("a check changed the worker")
	}
}

// A new worker that does not serve leaves the old one as it is, and its reason reaches whoever
// asked (promise S2).
func TestReloadKeepsOld(t *testing.T) {
	t.Parallel()
	s := start(t, "", nil)
	c := dial(t, s.addr)
	command := s.m.cfg.Command
	for _, tc := range []struct{ script, want string }{
		{"exit", "cannot find my shoes"},
		{"panic", "panic: no coffee"},
		{"fail", "redis is away"},
		{"missing", "no such file"},
		{"no program", "exec format error"},
		{"dies-when-ready", "exit status 4"},
		{"bad-start", "OnWorkerStart of live.user: no"},
		{"dies-at-start", "exit status 9"},
	} {
		t.Run(tc.script, func(t *testing.T) {
			s.write(tc.script)
			switch tc.script {
			case "missing":
				s.m.cfg.Command = []string{filepath.Join(s.dir, "console")}
			case "no program":
				file := filepath.Join(t.TempDir(), "console")
				if err := os.WriteFile(file, []byte("\x00\x01\x02"), 0o755); err != nil {
					t.Fatal(err)
				}
				s.m.cfg.Command = []string{file}
			}
			defer func() { s.m.cfg.Command = command }()
			for _, check := range []bool{true, false} {
				if check && (tc.script == "dies-when-ready" || strings.HasSuffix(tc.script, "start")) {
					continue // a check does no more, and starts nothing
				}
				_, err := s.m.Reload(t.Context(), check)
				if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "new worker") {
					t.Fatalf("check %v: %v", check, err)
				}
				if c.echo("still there") != c.pid || dial(t, s.addr).pid != c.pid || s.status().WorkerPID != c.pid {
					t.Fatal("another worker serves")
				}
			}
		})
	}
}

func TestOneReloadAtATime(t *testing.T) {
	t.Parallel()
	s := start(t, "", nil)
	s.write("hang")
	first := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, err := s.m.Reload(ctx, false); first <- err }()
	until(t, "the first one runs", func() bool { return strings.Contains(s.out.String(), "godot") })
	if _, err := s.m.Reload(t.Context(), false); !errors.Is(err, errReloading) {
		t.Fatalf("%v", err)
	}
	cancel()
	if err := <-first; err == nil {
		t.Fatal("the hanging one was taken")
	}
	s.write("")
	if _, err := s.m.Reload(t.Context(), false); err != nil {
		t.Fatal(err)
	}
}

// An OnReload that fails or does not end is reported and does not stop the reload.
func TestReloadHooks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ script, want string }{
		{"bad-hook", "OnReload of live.user: no"},
		{"slow-hook", "context deadline exceeded"},
		{"crashes-in-hook", "the old worker had ended by itself (exit status 8)"},
	} {
		t.Run(tc.script, func(t *testing.T) {
			s := start(t, tc.script, func(c *MasterConfig) { c.DrainTime = 200 * time.Millisecond })
			s.write("")
			r, err := s.m.Reload(t.Context(), false)
			if err != nil || !strings.Contains(strings.Join(r.Notes, "\n"), tc.want) {
				t.Fatalf("%v %v", r.Notes, err)
			}
			if dial(t, s.addr).pid != r.NewPID {
				t.Fatal("the new worker does not serve")
			}
			if st := s.status(); st.WorkerPID != r.NewPID || st.WorkerRestarts != 0 {
				t.Fatalf("%+v", st)
			}
		})
	}
}

// The old worker crashes while the new one boots: the new one takes over, or where it does not
// boot, another.
func TestCrashDuringReload(t *testing.T) {
	t.Parallel()
	s := start(t, "", nil)
	c := dial(t, s.addr)
	s.write("hang")
	reloaded := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, err := s.m.Reload(ctx, false); reloaded <- err }()
	until(t, "the new one boots", func() bool { return strings.Contains(s.out.String(), "godot") })
	s.write("")
	fmt.Fprintln(c.conn, "crash")
	until(t, "the crash is seen", func() bool { old, err := s.m.roster.serving(); return err == nil && old.ended() })
	cancel()
	if err := <-reloaded; err == nil {
		t.Fatal("the hanging one was taken")
	}
	again := dial(t, s.addr)
	until(t, "another serves", func() bool { st := s.status(); return st.WorkerPID == again.pid && st.WorkerRestarts == 1 })
}

// Stopping in the middle of a reload ends both workers and does not wait for the new one's boot.
func TestStopDuringReload(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"hang", ""} {
		t.Run("new: "+script, func(t *testing.T) {
			s := start(t, "slow-stop", func(c *MasterConfig) { c.DrainTime = 200 * time.Millisecond; c.StopGrace = 200 * time.Millisecond })
			c := dial(t, s.addr)
			s.write(script)
			reloaded := make(chan error, 1)
			go func() { _, err := s.m.Reload(context.Background(), false); reloaded <- err }()
			if script == "hang" {
				until(t, "the new one boots", func() bool { return strings.Contains(s.out.String(), "godot") })
			} else {
				c.want("bye 1012 server reloads")
			}
			_ = s.m.Stop(t.Context(), true)
			err := <-reloaded
			if (script == "hang") != errors.Is(err, errStopping) {
				t.Fatalf("%v", err)
			}
			s.wait()
			if s.err != nil || alive(c.pid) {
				t.Fatalf("%v", s.err)
			}
			if left := s.m.workers.all(); len(left) != 0 {
				t.Fatalf("%d workers are left", len(left))
			}
		})
	}
}

// The port refuses nobody while workers are replaced.
func TestReloadNeverRefuses(t *testing.T) {
	s := start(t, "", nil)
	stop := make(chan struct{})
	failed := make(chan error, 1)
	var dialed int
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			conn, err := net.DialTimeout("tcp", s.addr, testWait)
			if err == nil {
				_ = conn.SetReadDeadline(time.Now().Add(testWait))
				_, err = bufio.NewReader(conn).ReadString('\n')
				_ = conn.Close()
			}
			if err != nil {
				failed <- err
				return
			}
			dialed++
		}
	}()
	for range 3 {
		if _, err := s.m.Reload(t.Context(), false); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if dialed < 3 {
		t.Fatalf("%d connections only", dialed)
	}
}

// A worker whose master was killed closes its connections, even if it has to print, and ends.
func TestMasterKilled(t *testing.T) {
	for _, script := range []string{"", "hang"} {
		t.Run("worker: "+script, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), envScript+"="+file, envMaster+"="+filepath.Join(t.TempDir(), "runtime"), "GORACE=atexit_sleep_ms=0")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if script == "hang" {
				var pid int
				if _, err := fmt.Sscanf(line, "worker hangs %d", &pid); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				_ = cmd.Process.Kill()
				until(t, "the booting worker ends", func() bool { return !alive(pid) })
				return
			}
			var pid int
			var addr string
			if _, err := fmt.Sscanf(line, "started %d %s", &pid, &addr); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			c := dial(t, addr)
			_ = cmd.Process.Kill()
			c.want("bye 1001 server is going away")
			until(t, "the worker ends", func() bool { return !alive(pid) })
		})
	}
}

// A worker that is told to end by a signal says goodbye as for its master, and another one takes
// its place.
func TestWorkerTerminated(t *testing.T) {
	s := start(t, "", nil)
	c := dial(t, s.addr)
	if err := syscall.Kill(c.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.want("bye 1001 server is going away")
	until(t, "another worker serves", func() bool { st := s.status(); return st.WorkerPID != 0 && st.WorkerPID != c.pid })
	// Both are told, as a service manager that signals the whole group does.
	next := dial(t, s.addr)
	if err := syscall.Kill(next.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = s.m.Stop(t.Context(), true)
	next.want("bye 1001 server is going away")
	s.wait()
	if s.err != nil {
		t.Error(s.err)
	}
}

// The runtime directory says where the server is, as long as it runs.
func TestRuntimeSays(t *testing.T) {
	s := start(t, "", func(cfg *MasterConfig) { cfg.Files = []string{"app"} })
	p, err := ReadLocation(s.dir)
	if err != nil || p.PID != os.Getpid() || p.Manager != s.m.addrs["manager"] || !slices.Equal(p.Files, []string{"app"}) || !Running(s.dir) {
		t.Fatalf("%+v %v", p, err)
	}
	if _, err := lock(s.dir); err == nil || !strings.Contains(err.Error(), "its manager is on "+p.Manager) {
		t.Error(err)
	}
	_ = s.m.Stop(t.Context(), true)
	s.wait()
	if _, err := ReadLocation(s.dir); !errors.Is(err, os.ErrNotExist) || Running(s.dir) {
		t.Errorf("after the end: %v", err)
	}
}
