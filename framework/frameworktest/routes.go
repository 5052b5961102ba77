package frameworktest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wsframe/framework"
)

// CheckRoutes compares what clients can call with a file that has a line for each route, so that no
// route appears or disappears unnoticed. With update it writes the file. The framework's own routes
// (index.sys) are left out.
func CheckRoutes(t testing.TB, mount func(framework.Deps) ([]framework.Controller, error), file string, update bool) {
	t.Helper()
	got := routesOf(New(t, mount))
	if update {
		check(t, os.MkdirAll(filepath.Dir(file), 0o755))
		check(t, os.WriteFile(file, []byte(strings.Join(got, "\n")+"\n"), 0o644))
		return
	}
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	want := strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' || r == '\r' })
	slices.Sort(want)
	if changes := changesOf(want, got); changes != "" {
		t.Errorf("the routes are not those of %s:\n%sclients call routes by these names. If the change is intended, run this test with -update:\n\tgo test -run %s -update",
			file, changes, t.Name())
	}
}

func routesOf(h *Harness) (list []string) {
	for _, r := range h.App.Routes() {
		if !strings.HasPrefix(r.Method, "index.sys.") {
			list = append(list, r.Method+" "+r.Controller)
		}
	}
	slices.Sort(list)
	return list
}

// changesOf returns a line for each entry that one of two sorted lists lacks.
func changesOf(want, got []string) string {
	var b strings.Builder
	for _, line := range want {
		if !slices.Contains(got, line) {
			fmt.Fprintf(&b, "\t- %s   (gone)\n", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			fmt.Fprintf(&b, "\t+ %s   (new)\n", line)
		}
	}
	return b.String()
}
