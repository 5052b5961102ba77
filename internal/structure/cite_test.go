package structure

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// cites are how comments name a section of docs/contract.md ("contract §5") and rows of docs/promises.md ("promise S4",
// "promises R1, R2", "security rule 4").
var (
	contractCite = regexp.MustCompile(`contract §(\d+)`)
	promiseCite  = regexp.MustCompile(`promises? ([A-Z]\d+(?:(?:, | and | or )[A-Z]\d+)*)`)
	securityCite = regexp.MustCompile(`security rule (\d+)`)
	promiseID    = regexp.MustCompile(`[A-Z]\d+`)
)

// sources are the Go files of the repository, by their path from its top. Line breaks inside comments are spaces.
func sources(t *testing.T) map[string]string {
	t.Helper()
	list := map[string]string{}
	wrapped := regexp.MustCompile(`\n\s*// ?`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"runtime", ".git", "node_modules"}, d.Name()):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		list[filepath.ToSlash(name)] = wrapped.ReplaceAllString(string(text), " ")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Every section of the contract and every promise that a comment cites is there.
func TestCitations(t *testing.T) {
	docs := documents(t)
	has := func(document, pattern string) map[string]bool {
		t.Helper()
		list := map[string]bool{}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(docs[document], -1) {
			list[m[1]] = true
		}
		if len(list) < 5 {
			t.Fatalf("%s has only %v", document, list)
		}
		return list
	}
	sections := has("docs/contract.md", `(?m)^## (\d+)\. `)
	promises := has("docs/promises.md", `(?m)^\| ([A-Z]\d+) \| `)
	rules := has("docs/promises.md", `(?m)^(\d+)\. `)
	count := 0
	for name, text := range sources(t) {
		if strings.HasPrefix(name, "internal/structure/") {
			continue
		}
		check := func(cited, document string, there map[string]bool) {
			if count++; !there[cited] {
				t.Errorf("%s cites %s, which is not in %s", name, cited, document)
			}
		}
		for _, m := range contractCite.FindAllStringSubmatch(text, -1) {
			check(m[1], "docs/contract.md", sections)
		}
		for _, m := range promiseCite.FindAllStringSubmatch(text, -1) {
			for _, id := range promiseID.FindAllString(m[1], -1) {
				check(id, "docs/promises.md", promises)
			}
		}
		for _, m := range securityCite.FindAllStringSubmatch(text, -1) {
			check(m[1], "docs/promises.md", rules)
		}
	}
	if count < 40 {
		t.Errorf("only %d citations were found", count)
	}
}
