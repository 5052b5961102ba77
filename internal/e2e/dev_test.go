//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// After a developer saves a controller, an open connection uses the new code for its next message.
// Code that does not compile or boot is reported and changes nothing.
func TestDev(t *testing.T) {
	t.Parallel()
	tree := t.TempDir()
	for _, dir := range []string{"app", "config", "docs", "framework", "library", "public"} {
		if err := os.CopyFS(filepath.Join(tree, dir), os.DirFS(filepath.Join(root, dir))); err != nil {
			t.Fatal(err)
		}
	}
	top, err := filepath.Glob(filepath.Join(root, "[^.]*.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(top, filepath.Join(root, "LICENSE"), filepath.Join(root, "VERSION")) {
		file = filepath.Base(file)
		if err := os.WriteFile(filepath.Join(tree, file), copyOf(t, filepath.Join(root, file)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := prepare(t, "WSFRAME_APP_LIMITS_MESSAGE_RATE=0")
	s.config = filepath.Join(tree, "config")
	file := filepath.Join(tree, "app", "index", "index.go")
	source := string(copyOf(t, file))
	// Errors of compilation at the start are shown, too, and the server starts once they are fixed.
	install(t, file, []byte(source+"\nno such word\n"))
	go func() {
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if strings.Contains(s.out.String(), "the server starts when it compiles") {
				_ = os.WriteFile(file, []byte(source), 0o600) // if this fails, the server does not become ready
				return
			}
		}
	}()
	s.launchAs(&exec.Cmd{Path: console, Args: []string{console, "-s", "dev"}, Dir: tree}, 4*time.Minute)

	if !strings.Contains(source, `"执行完成"`) {
		t.Fatalf("%s does not answer as it did", file)
	}
	save := func(old, new string) {
		t.Helper()
		// Like an editor, replace the file by another one.
		install(t, file, []byte(strings.ReplaceAll(source, old, new)))
	}
	p := dial(t, s.outside, s.token("guest", "g"))
	answers := func(info string) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			p.send(`{"method":"index"}`)
			got, err := p.receive()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(got, info) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the answer is %s, want %s", got, info)
			}
		}
	}
	says := func(part string, from int) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); !strings.Contains(s.out.String()[from:], part); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it does not say %q", part)
			}
		}
	}
	answers("执行完成")
	save("执行完成", "the second one")
	answers("the second one")

	from := len(s.out.String())
	save(`"执行完成"`, `no such name`)
	says("app/index/index.go:", from)
	says("the code before goes on", from)
	answers("the second one")

	from = len(s.out.String())
	save("type Index struct", "func init() { panic(\"no coffee\") }\n\ntype Index struct")
	says("no coffee", from)
	says("the code before goes on", from)
	answers("the second one")

	// A change of the configuration causes a reload, too.
	save("执行完成", "the third one")
	answers("the third one")
	config := filepath.Join(s.config, "app.yaml")
	good := copyOf(t, config)
	from = len(s.out.String())
	install(t, config, []byte("limits:\n  foo: 1\n"))
	says("limits.foo", from)
	says("the code before goes on", from)
	answers("the third one")
	install(t, config, good)
	says("reloaded: 1 connections moved, 0 drained", from)
	answers("the third one")

	// A new folder with its files causes a reload.
	aside := filepath.Join(t.TempDir(), "more")
	if err := os.Mkdir(aside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(aside, "more.go"), []byte("// Package more is new.\npackage more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	from = len(s.out.String())
	if err := os.Rename(aside, filepath.Join(tree, "app", "more")); err != nil {
		t.Fatal(err)
	}
	says("reloaded: 1 connections moved, 0 drained", from)
	if st := s.status(); st.Connections != 1 || st.WorkerRestarts != 0 {
		t.Errorf("%+v", st)
	}
}
