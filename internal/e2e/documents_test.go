//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// goFences returns the Go code blocks of a document.
func goFences(text string) (list []string) {
	for _, m := range regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

// TestExamples builds the Go code of the documents, as a reader would who follows them: the first
// controller of the README with its test, which must pass, and the client of the push port. Both
// languages have the same code.
func TestExamples(t *testing.T) {
	t.Parallel()
	fences := func(name string) []string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return goFences(string(b))
	}
	readme, push := fences("README.md"), fences("docs/push.md")
	if !slices.Equal(readme, fences("README.zh-CN.md")) || !slices.Equal(push, fences("docs/push.zh-CN.md")) {
		t.Error("the code differs between the languages")
	}
	if len(readme) != 3 || len(push) != 1 {
		t.Fatalf("the README has %d Go blocks, docs/push.md %d", len(readme), len(push))
	}
	controller, mount, test := readme[0], readme[1], readme[2]

	app, err := os.ReadFile(filepath.Join(root, "app", "app.go"))
	if err != nil {
		t.Fatal(err)
	}
	const imports, list = "import (\n", "return []framework.Controller{\n"
	text := strings.Replace(string(app), imports, imports+"\t\"wsframe/app/hello\"\n", 1)
	text = strings.Replace(text, list, list+mount, 1)

	overlay := struct{ Replace map[string]string }{map[string]string{}}
	dir := t.TempDir()
	for name, source := range map[string]string{
		"app/app.go": text, "app/hello/hello.go": controller, "app/hello/hello_test.go": test, "app/pusher/main.go": push[0],
	} {
		file, err := filepath.Abs(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		overlay.Replace[file] = filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(overlay.Replace[file], []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "hello.test")
	for _, args := range [][]string{
		{"build", "-overlay", file, "-o", os.DevNull, "wsframe/app/pusher"},
		{"test", "-c", "-vet=off", "-overlay", file, "-o", binary, "wsframe/app/hello"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	cmd := exec.Command(binary)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
