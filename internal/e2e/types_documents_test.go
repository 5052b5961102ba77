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

// overlaid returns an overlay for the go command in which the sample application has one more
// module: a controller and its test.
func overlaid(t *testing.T, module, kind, controller, test string) (overlay string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "app", "app.go"))
	if err != nil {
		t.Fatal(err)
	}
	const imports, list = "import (\n", "return []framework.Controller{\n"
	app := strings.Replace(string(b), imports, imports+"\t\"wsframe/app/"+module+"\"\n", 1)
	app = strings.Replace(app, list, list+"framework.Mount(\""+module+"\", &"+module+"."+kind+"{}),\n", 1)
	dir := t.TempDir()
	replace := map[string]string{}
	for name, source := range map[string]string{"app/app.go": app, "app/" + module + "/" + module + ".go": controller, "app/" + module + "/" + module + "_test.go": test} {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "_")+".txt")
		replace[filepath.Join(root, name)] = file
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if b, err = json.Marshal(map[string]any{"Replace": replace}); err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// TestTypesDocuments builds the controllers of docs/types.md and docs/streams.md and runs their
// tests as they stand there, in both languages alike. The client in TypeScript is compiled against
// the types of that application.
func TestTypesDocuments(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(root, "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	goTool := func(args ...string) {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	for _, doc := range []struct{ name, module, kind string }{{"types", "shop", "Shop"}, {"streams", "assistant", "Assistant"}} {
		text := read(doc.name + ".md")
		code := goFences(text)
		if !slices.Equal(code, goFences(read(doc.name+".zh-CN.md"))) || len(code) != 2 {
			t.Fatalf("docs/%s.md has %d Go blocks, or others than its translation", doc.name, len(code))
		}
		overlay := overlaid(t, doc.module, doc.kind, code[0], code[1])
		dir := t.TempDir()
		goTool("test", "-c", "-vet=off", "-overlay", overlay, "-o", filepath.Join(dir, "module.test"), "wsframe/app/"+doc.module)
		cmd := exec.Command(filepath.Join(dir, "module.test"))
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("docs/%s.md: %v\n%s", doc.name, err, out)
		}
		if doc.name != "types" {
			continue
		}
		goTool("build", "-overlay", overlay, "-o", filepath.Join(dir, "console"), "./public")
		contract, err := exec.Command(filepath.Join(dir, "console"), "types").Output()
		if err != nil {
			t.Fatal(err)
		}
		client := regexp.MustCompile("(?ms)^```ts\n(.*?)^```").FindStringSubmatch(text)[1]
		if out, err := compileTypeScript(t, npmPackages(t, typescript), string(contract), client); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
