//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wsframe/internal/testserver"
)

// fences returns the code blocks of a document in one language, without the indentation of lists.
func fences(t *testing.T, name, language string) (list []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^( *)```"+language+"\n(.*?)^ *```").FindAllStringSubmatch(string(b), -1) {
		list = append(list, strings.TrimPrefix(strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n"), "\n"))
	}
	return list
}

// What docs/gatewayworker.md shows works: its settings, its lines of nginx, its controller, and its
// renaming of PHP's files. Both languages have the same blocks.
func TestGatewayWorkerDocument(t *testing.T) {
	t.Parallel()
	const doc = "docs/gatewayworker.md"
	block := func(language string, n int) []string {
		t.Helper()
		list := fences(t, doc, language)
		if len(list) != n || !slices.Equal(list, fences(t, "docs/gatewayworker.zh-CN.md", language)) {
			t.Fatalf("%d blocks of %s, which the languages must share", len(list), language)
		}
		return list
	}

	for i, settings := range block("yaml", 2) {
		s := prepare(t)
		s.config = configWith(t, "gateway", settings)
		out, errs, code := s.run("-s", "checkconfig")
		if code != 0 {
			t.Errorf("settings %d: %s%s", i, out, errs)
		}
	}

	e := workersOf(t, "WSFRAME_APP_TRUSTED_PROXIES=127.0.0.1")
	e.worker("Chat:0")
	location := block("nginx", 1)[0]
	n := testserver.StartNginx(t, func(addr string) string {
		return fmt.Sprintf("server {\nlisten %s;\n%s}", addr, strings.Replace(location, "127.0.0.1:7272", e.gateway, 1))
	})
	behind := *e
	behind.gateway = n.Addr + "/ws"
	behind.visit("").want("connect null", `opened [[],{"a":"1","b":"\u4e2d"},"/ws/chat","127.0.0.1"]`)

	app := filepath.Join(t.TempDir(), "Applications", "YourApp")
	if err := os.MkdirAll(app, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"start_gateway.php", "start_register.php", "start_businessworker.php"} {
		if err := os.WriteFile(filepath.Join(app, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sh := exec.Command("sh", "-ec", block("sh", 1)[0])
	sh.Dir = filepath.Join(app, "..", "..")
	if out, err := sh.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(app, "start*.php")); len(left) != 1 {
		t.Error(left)
	}

	parses(t, block("js", 1)[0])
	builds(t, "app/talk", block("go", 1)[0])
}

// configWith copies config/ with other text for a section of app.yaml, and returns the folder.
func configWith(t *testing.T, section, settings string) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config")
	if err := os.CopyFS(config, os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(config, "app.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	own := regexp.MustCompile(`(?m)^`+section+`:(.*\n)(?:[ ].*\n)*`).ReplaceAllLiteralString(string(b), settings)
	if !strings.Contains(own, settings) {
		t.Fatal("config/app.yaml has no section " + section)
	}
	if err := os.WriteFile(path, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

// parses checks the syntax of a script.
func parses(t *testing.T, source string) {
	t.Helper()
	check := exec.Command("node", "--check", "-")
	check.Stdin = strings.NewReader(source)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// builds builds a source file as a package of this module.
func builds(t *testing.T, name, source string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "source.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, name, "source.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{file: source, filepath.Join(dir, "overlay.json"): string(overlay)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "./"+name)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
