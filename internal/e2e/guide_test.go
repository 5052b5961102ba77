//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shellFences returns the shell blocks of a document.
func shellFences(t *testing.T, name string) (list []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(b), -1) {
		list = append(list, m[1])
	}
	return list
}

// The guide is followed literally: each of its commands runs, in their order, in one shell. Only the
// port of pushes is another.
func TestStartGuide(t *testing.T) {
	t.Parallel()
	blocks := shellFences(t, "docs/start.md")
	if !slices.Equal(blocks, shellFences(t, "docs/start.zh-CN.md")) {
		t.Error("the commands differ between the languages")
	}
	if len(blocks) < 5 {
		t.Fatalf("only %d blocks", len(blocks))
	}
	s := prepare(t)
	dir := t.TempDir()
	if err := os.Symlink(root, filepath.Join(dir, "wsframe")); err != nil {
		t.Fatal(err)
	}
	script := "set -ex\n" + strings.ReplaceAll(strings.Join(blocks, "\n"), "127.0.0.1:2121", s.push)
	p := &projectDir{t, dir, s.env}
	t.Cleanup(func() { _ = p.command("sh", "-c", "cd shop && ./console stop").Run() }) // where a command before has failed
	out := p.ok("bash", "-c", script)
	for _, want := range []string{"made the module example.com/shop", "wrote app/poll/vote_model.go", "started, pid", "poll.vote.index", "offline", "the new worker would serve", "0 drained", "this project has wsframe", "stopped"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	// The settings of compose.yaml are valid.
	p.dir = filepath.Join(dir, "shop")
	compose, err := os.ReadFile(filepath.Join(p.dir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	settings := regexp.MustCompile(`(?m)^ +(WSFRAME_\w+): ([^$\n#]*)`).FindAllStringSubmatch(string(compose), -1)
	if len(settings) != 4 {
		t.Errorf("compose.yaml has %v", settings)
	}
	for _, m := range settings {
		if value := strings.TrimSpace(m[2]); value != "" {
			p.env = append(p.env, m[1]+"="+value)
		}
	}
	p.ok("./console", "checkconfig")
}
