//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// projectTime bounds a command that builds a whole project, on a machine that does other things.
const projectTime = 10 * time.Minute

// projectDir is a project and the environment of its commands.
type projectDir struct {
	t   *testing.T
	dir string
	env []string
}

func (p *projectDir) command(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), projectTime)
	p.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	return cmd
}

// ok runs a command in the project.
func (p *projectDir) ok(name string, args ...string) string {
	p.t.Helper()
	out, err := p.command(name, args...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// fails runs a command that must fail with a text.
func (p *projectDir) fails(want, name string, args ...string) {
	p.t.Helper()
	out, err := p.command(name, args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) {
		p.t.Fatalf("%s %v: %v, want %q\n%s", name, args, err, want, out)
	}
}

func (p *projectDir) write(name, text string) {
	p.t.Helper()
	file := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *projectDir) version() string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "wsframe", "VERSION"))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// buildBefore builds the console of the version before: its sources differ in some files.
func buildBefore(t *testing.T, output string) {
	t.Helper()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	dir := t.TempDir()
	change := func(name string, edit func(string) string) {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(file, []byte(edit(string(b))), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, name)] = file
	}
	change("VERSION", func(string) string { return "0.0.1\n" })
	change("framework/errors.go", func(text string) string { return text + "\n// The version before.\n" })
	change("CHANGELOG.md", func(string) string { return "# Changelog\n\n## 0.0.1\n\n- The first one.\n" })
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-overlay", file, "-o", output, "./public")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// A project from its first command to an upgrade of the framework under 200 clients, in a folder
// with blanks: each step by the commands that its README names.
func TestProject(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	top := t.TempDir()
	before := filepath.Join(top, "console before")
	buildBefore(t, before)
	p := &projectDir{t, top, s.env}
	p.ok(before, "new", "我的 店", "-module", "example.com/shop")
	p.fails("is not empty", before, "new", "我的 店")
	p.dir = filepath.Join(top, "我的 店")
	p.ok(before, "make", "-i", "poll.vote", "-hook", "close,connect", "-model")
	p.ok("go", "vet", "./...")
	p.ok("go", "test", "./...")
	p.ok("go", "build", "-ldflags", "-X main.version=7.8.9", "-o", "console", "./public")
	if out := p.ok("./console", "version"); !strings.Contains(out, "7.8.9") || !strings.Contains(out, "wsframe 0.0.1") || !strings.Contains(out, "example.com/shop") {
		t.Error(out)
	}

	// The project serves clients, which call it all the time.
	s.config = filepath.Join(p.dir, "config")
	s.launchAs(&exec.Cmd{Path: filepath.Join(p.dir, "console"), Args: []string{"./console", "start"}, Dir: p.dir, Env: s.env}, wait)
	token := s.token("guest", "g")
	stop := make(chan struct{})
	var clients sync.WaitGroup
	failed := make(chan error, 200)
	for n := range 200 {
		c := dial(t, s.outside, token)
		clients.Go(func() {
			if err := greetUntil(stop, c.ws, n); err != nil {
				failed <- err
			}
		})
	}
	serving := func(what string) {
		t.Helper()
		select {
		case err := <-failed:
			t.Fatalf("%s: a client has ended: %v", what, err)
		default:
		}
		if st := s.status(); st.Connections != 200 {
			t.Fatalf("%s: %d connections", what, st.Connections)
		}
	}
	serving("started")

	// A project whose tests fail with the new framework keeps the previous one.
	p.write("app/hello/broken_test.go", "package hello_test\n\nimport \"testing\"\n\nfunc TestBroken(t *testing.T) { t.Fatal(\"it is broken\") }\n")
	p.fails("it is broken", console, "upgrade")
	if v := p.version(); v != "0.0.1" {
		t.Fatalf("wsframe is %s after an upgrade that failed", v)
	}
	if err := os.Remove(filepath.Join(p.dir, "app/hello/broken_test.go")); err != nil {
		t.Fatal(err)
	}
	// An upgrade is killed in the middle.
	killed := p.command(console, "upgrade")
	var out lockedBuffer
	killed.Stdout, killed.Stderr = &out, &out
	killed.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the upgrade to build", func() bool { return strings.Contains(out.String(), "go build\n") })
	_ = syscall.Kill(-killed.Process.Pid, syscall.SIGKILL)
	_ = killed.Wait()
	serving("an upgrade was killed")

	// The next one succeeds, and the server takes it.
	text := p.ok(console, "upgrade")
	for _, want := range []string{"an upgrade was interrupted before", "wsframe 0.0.1 (", "go test", "reload -check", "the new worker would serve", "What is new:", "./console reload"} {
		if !strings.Contains(text, want) {
			t.Errorf("upgrade does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "The first one.") {
		t.Errorf("upgrade shows what was there before:\n%s", text)
	}
	if v := p.version(); v == "0.0.1" {
		t.Fatalf("wsframe is %s", v)
	}
	serving("upgraded")
	if text := p.ok("./console", "reload"); !strings.Contains(text, "200 connections moved, 0 drained") {
		t.Error(text)
	}
	serving("reloaded")
	if out := p.ok("./console", "version"); !strings.Contains(out, "7.8.9") || strings.Contains(out, "wsframe 0.0.1") {
		t.Error(out)
	}
	close(stop)
	clients.Wait()
	serving("at the end")
	p.fails("wsframe/ is not as wsframe", "sh", "-c", "echo '// x' >> wsframe/framework/app.go && '"+before+"' upgrade")
	if text := p.ok("go", "vet", "./..."); text != "" {
		t.Error(text)
	}
}

// greetUntil calls the first controller of a project until stop is closed, and once after it.
func greetUntil(stop <-chan struct{}, ws *websocket.Conn, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 4*projectTime)
	defer cancel()
	for id, last := 1, false; !last; id++ {
		select {
		case <-stop:
			last = true
		case <-time.After(500*time.Millisecond + time.Duration(n)*time.Millisecond):
		}
		if err := ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"method":"hello.hello.greet","name":"n%d","id":%d}`, n, id)); err != nil {
			return err
		}
		_, got, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		if !bytes.Contains(got, fmt.Appendf(nil, `"info":"hello n%d"`, n)) || !bytes.Contains(got, fmt.Appendf(nil, `"id":%d`, id)) {
			return fmt.Errorf("got %s", got)
		}
	}
	return nil
}

// A project with the sample applications builds and tests, too, and works without them as its
// README says.
func TestProjectDemo(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	p := &projectDir{t, top, os.Environ()}
	p.ok(console, "new", "demo", "-demo")
	p.dir = filepath.Join(top, "demo")
	p.ok("go", "vet", "./...")
	p.ok("go", "test", "./...")
}
