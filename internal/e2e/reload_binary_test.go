//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wsframe/internal/testserver"
)

// buildDesk builds the console with testdata/desk as its application. changes lists texts of the
// source and their replacements, in pairs.
func buildDesk(t *testing.T, output string, changes ...string) {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root, "internal/e2e/testdata/desk/app.go"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	app, overlay := filepath.Join(dir, "app.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "app/app.go"): app}})
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{app: strings.NewReplacer(changes...).Replace(string(source)), overlay: string(replace)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", output, "./public")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// install puts a program at path by a rename, so that a running program keeps its file.
func install(t *testing.T, path string, program []byte) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

func copyOf(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// After a deployment, an open connection uses the new code. reload -check reports the changes
// beforehand, and changes nothing.
func TestReloadChangedController(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "console")
	buildDesk(t, path)
	next := filepath.Join(t.TempDir(), "next")
	buildDesk(t, next, "the first code", "the next code", "desk.first", "desk.second", "Porter", "Doorman",
		"func (*Clerk) Ask", "func (*Clerk) Help(c *framework.Ctx) (*framework.Reply, error) { return framework.OK(\"help\", \"\"), nil }\n\nfunc (*Clerk) Ask")
	s := prepare(t)
	s.serve(path)
	u := &traffic{}
	if err := u.dial(s.outside, s.token("guest", "g")); err != nil {
		t.Fatal(err)
	}
	defer u.nc.Close()
	says := func(method, want string) {
		t.Helper()
		u.asked++
		if _, err := u.nc.Write(encode(0x81, fmt.Appendf(nil, `{"method":%q,"id":%d}`, method, u.asked))); err != nil {
			t.Fatal(err)
		}
		_, p, err := (&rawConn{nc: u.nc, br: u.br}).frame()
		if err != nil || !strings.Contains(string(p), want) {
			t.Fatalf("%s: %s %v, want %s", method, p, err, want)
		}
	}
	says("desk.clerk.ask", "the first code")
	says("desk.first.only", `"status":200`)
	install(t, path, copyOf(t, next))
	worker := s.status().WorkerPID
	changes := []string{"new route: desk.clerk.help", "new route: desk.second.only", "route gone: desk.first.only", "route of another controller: desk.porter.open"}
	for _, args := range [][]string{{"-s", "reload", "-check"}, {"-s", "reload"}} {
		out := s.ok(args...)
		for _, line := range changes {
			if !strings.Contains(out, line) {
				t.Errorf("%v does not say %q:\n%s", args, line, out)
			}
		}
		if len(args) == 2 {
			if !strings.Contains(out, "1 connections moved, 0 drained") {
				t.Errorf("reload: %s", out)
			}
			continue
		}
		if st := s.status(); st.WorkerPID != worker || st.Connections != 1 {
			t.Fatalf("-check has changed something: %+v", st)
		}
		says("desk.clerk.ask", "the first code")
	}
	says("desk.clerk.ask", "the next code")
	says("desk.clerk.help", `"status":200`)
	says("desk.first.only", `"status":404`)
	says("desk.second.only", `"status":200`)
	says("desk.porter.open", `"status":200`)
	if now := s.status().WorkerPID; now == worker {
		t.Error("the worker is the same")
	}
}

// With a binary or environment in which no worker can boot, a reload prints the reason and fails,
// and the old worker continues with every connection (promise S2).
func TestReloadThatCannotBoot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "console")
	good := copyOf(t, console)
	install(t, path, good)
	panics := filepath.Join(t.TempDir(), "panics")
	buildDesk(t, panics, "return []framework.Controller{", "panic(\"no coffee\")\n\treturn []framework.Controller{")
	redis := testserver.StartRedis(t)
	s := prepare(t, "WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_CACHE_MASTER_ADDRS="+redis.Addr, "WSFRAME_CACHE_MASTER_PASSWORD="+redis.Password,
		"WSFRAME_APP_LIMITS_BOOT_TIMEOUT=10s")
	s.config = filepath.Join(t.TempDir(), "config")
	if err := os.CopyFS(s.config, os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	s.serve(path)
	var users []*traffic
	token := s.token("guest", "g")
	for range 50 {
		u := &traffic{}
		if err := u.dial(s.outside, token); err != nil {
			t.Fatal(err)
		}
		defer u.nc.Close()
		users = append(users, u)
	}
	old := s.status().WorkerPID
	file := filepath.Join(s.config, "app.yaml")
	config := copyOf(t, file)
	cases := []struct {
		name, want string
		before     func(t *testing.T)
		slow       bool
	}{
		{"missing", "no such file", func(t *testing.T) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"no program", "exec format error", func(t *testing.T) { install(t, path, []byte{0, 1, 2}) }, false},
		{"exits", "the disk is full", func(t *testing.T) { install(t, path, []byte("#!/bin/sh\necho the disk is full >&2\nexit 1\n")) }, false},
		{"panics", "panic: no coffee", func(t *testing.T) { install(t, path, copyOf(t, panics)) }, false},
		{"bad config", "the old one goes on: " + file + ": unknown key foo", func(t *testing.T) {
			if err := os.WriteFile(file, append([]byte("foo: 1\n"), config...), 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"redis frozen", "redis at " + redis.Addr + " cannot be reached", func(t *testing.T) { redis.Freeze() }, false},
		{"redis away", "redis at " + redis.Addr + " cannot be reached", func(t *testing.T) { redis.Kill() }, false},
		{"hangs", "not ready after 10s", func(t *testing.T) { install(t, path, []byte("#!/bin/sh\necho waiting >&2\nexec sleep 60\n")) }, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			tc.before(t)
			defer func() {
				install(t, path, good)
				if err := os.WriteFile(file, config, 0o600); err != nil {
					t.Fatal(err)
				}
				switch tc.name {
				case "redis frozen":
					redis.Thaw()
				case "redis away":
					redis.Restart()
				}
			}()
			checks := [][]string{{"-s", "reload", "-check"}, {"-s", "reload"}}
			if tc.slow {
				checks = checks[1:]
			}
			for _, args := range checks {
				out, errs, code := s.run(args...)
				if code == 0 || !strings.Contains(errs, tc.want) {
					t.Errorf("%v: exit code %d\n%s%s", args, code, out, errs)
				}
				for i, u := range users {
					if err := u.ask("index", 0); err != nil {
						t.Fatalf("user %d of %d: %v", i, len(users), err)
					}
				}
			}
		})
	}
	if st := s.status(); st.WorkerPID != old || st.Connections != len(users) || st.WorkerRestarts != 0 {
		t.Errorf("%+v", st)
	}
	// A reload with a working binary succeeds.
	if out := s.ok("-s", "reload"); !strings.Contains(out, fmt.Sprintf("%d connections moved, 0 drained", len(users))) {
		t.Errorf("reload: %s", out)
	}
	for i, u := range users {
		if err := u.ask("index", 0); err != nil {
			t.Fatalf("user %d: %v", i, err)
		}
	}
}
