package structure

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestWhereIs holds the table of docs/architecture.md that leads from a topic to its package and to the first file to read.
func TestWhereIs(t *testing.T) {
	text := documents(t)["docs/architecture.md"]
	_, table, _ := strings.Cut(text, "## Where is …?")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| ([^|`]+) \\| `([^`]+)` \\| `([^`]+)` \\|$").FindAllStringSubmatch(table, -1)
	if len(rows) < 25 {
		t.Fatalf("only %d rows were found", len(rows))
	}
	for _, row := range rows {
		if info, err := os.Stat(filepath.Join(root, row[2])); err != nil || !info.IsDir() {
			t.Errorf("%s: there is no package %s", row[1], row[2])
		}
		if path.Dir(row[3]) != row[2] {
			t.Errorf("%s: %s is no file of %s", row[1], row[3], row[2])
		}
	}
	for _, topic := range []string{"kick", "presence", "history", "reload", "handshake", "counts", "second login", "limits", "push port", "close listeners"} {
		if !strings.Contains(table, topic) {
			t.Errorf("no row is about %s", topic)
		}
	}
}

// TestNamedFiles holds what docs/architecture.md names in backquotes: Go files, packages, and tests.
func TestNamedFiles(t *testing.T) {
	text := documents(t)["docs/architecture.md"]
	count := 0
	for _, m := range regexp.MustCompile("`((?:app|framework|internal|library|public)/[a-z0-9_/.]*)`").FindAllStringSubmatch(text, -1) {
		count++
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("docs/architecture.md names %s, which does not exist", m[1])
		}
	}
	if count < 60 {
		t.Errorf("only %d paths were found", count)
	}
	var all strings.Builder
	for _, source := range sources(t) {
		all.WriteString(source)
	}
	for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(text, -1) {
		if !strings.Contains(all.String(), "func "+name) {
			t.Errorf("docs/architecture.md names %s, and no test begins so", name)
		}
	}
}
