//go:build e2e

// Package e2e tests the console binary with real processes, a real Redis, MariaDB, nginx, PHP and
// Chromium. Run it with .ci/test, which installs missing programs.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wsframe/framework/manager"
	"wsframe/internal/testserver"
)

const wait = time.Minute

var (
	root    string // top of the checkout
	console string // path of the binary under test
)

func TestMain(m *testing.M) {
	code := func() int {
		dir, err := os.MkdirTemp("", "wsframe-e2e-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if root, err = filepath.Abs("../.."); err != nil {
			panic(err)
		}
		console = filepath.Join(dir, "console")
		args := []string{"build", "-o", console}
		if os.Getenv("E2E_RACE") != "" {
			args = append(args, "-race")
			if err := os.Setenv("GORACE", "atexit_sleep_ms=10"); err != nil { // without this, each process takes a second to end
				panic(err)
			}
		}
		build := exec.Command("go", append(args, "./public")...)
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}()
	os.Exit(code)
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(wait); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// lockedBuffer collects the output of a process.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// server is one running console -s start.
type server struct {
	t       testing.TB
	env     []string
	dir     string // runtime
	config  string
	outside string // host:port
	manager string
	push    string
	cmd     *exec.Cmd
	out     *lockedBuffer
	ended   chan struct{}
	exit    error
}

// prepare chooses ports and folders for a server that start starts.
func prepare(t testing.TB, env ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), config: filepath.Join(root, "config"), out: &lockedBuffer{}, ended: make(chan struct{})}
	outside, admin, push := testserver.FreePort(t), testserver.FreePort(t), testserver.FreePort(t)
	s.outside, s.manager, s.push = fmt.Sprintf("127.0.0.1:%d", outside), fmt.Sprintf("127.0.0.1:%d", admin), fmt.Sprintf("127.0.0.1:%d", push)
	s.env = append(os.Environ(),
		"WSFRAME_APP_OUTSIDE_PORT="+strconv.Itoa(outside), "WSFRAME_APP_MANAGER_PORT="+strconv.Itoa(admin), "WSFRAME_APP_PUSH_PORT="+strconv.Itoa(push),
		"WSFRAME_APP_RUNTIME_DIR="+s.dir)
	s.env = append(s.env, env...)
	return s
}

// launch starts the server from a binary.
func (s *server) launch(path string) {
	s.t.Helper()
	s.cmd = exec.Command(path, "-s", "start", "-c", s.config)
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.env, s.out, s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { s.exit = s.cmd.Wait(); close(s.ended) }()
	s.t.Cleanup(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(wait):
			_ = s.cmd.Process.Kill()
			<-s.ended
			s.t.Errorf("the server had to be killed")
		}
		if s.t.Failed() {
			s.t.Logf("server said:\n%s", s.out)
		}
	})
}

func start(t testing.TB, env ...string) *server {
	t.Helper()
	s := prepare(t, env...)
	s.serve(console)
	return s
}

// serve starts the server, and waits until it is ready.
func (s *server) serve(path string) {
	s.t.Helper()
	s.launch(path)
	until(s.t, "server is ready", func() bool {
		select {
		case <-s.ended:
			s.t.Fatalf("server ended: %v\n%s", s.exit, s.out)
		default:
		}
		return strings.Contains(s.out.String(), "manager  ws://")
	})
}

// run runs a console command against the server.
func (s *server) run(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, console, append(args, "-c", s.config)...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		s.t.Fatalf("console %v does not end: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (s *server) ok(args ...string) string {
	s.t.Helper()
	out, errs, code := s.run(args...)
	if code != 0 {
		s.t.Fatalf("console %v: exit code %d\n%s%s", args, code, out, errs)
	}
	return out
}

func (s *server) status() (st manager.Status) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.ok("-s", "status", "-json")), &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

func (s *server) token(kind, id string) string {
	s.t.Helper()
	lines := strings.Split(strings.TrimSpace(s.ok("-s", "token", "-type", kind, "-id", id, "-code", "A", "-nickname", "小明")), "\n")
	return lines[len(lines)-1]
}

// peer is a client with a WebSocket library that the server does not use.
type peer struct {
	t  testing.TB
	ws *websocket.Conn
}

func dial(t testing.TB, addr, token string) *peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+addr+"/?auth="+token, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &peer{t, ws}
}

func (p *peer) send(text string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := p.ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) receive() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	_, b, err := p.ws.Read(ctx)
	return string(b), err
}

func (p *peer) want(part string) string {
	p.t.Helper()
	got, err := p.receive()
	if err != nil || !strings.Contains(got, part) {
		p.t.Fatalf("got %q %v, want one with %q", got, err, part)
	}
	return got
}

func (p *peer) wantClose(code int) {
	p.t.Helper()
	for {
		_, err := p.receive()
		if err == nil {
			continue
		}
		if got := int(websocket.CloseStatus(err)); got != code {
			p.t.Fatalf("ended with %v, want close code %d", err, code)
		}
		return
	}
}
