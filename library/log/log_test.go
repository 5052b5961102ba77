package log

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

func lines(t *testing.T, path string) []map[string]any {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	for line := range bytes.Lines(b) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, m)
	}
	return list
}

func TestLogger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	o := Options{Dir: dir, Level: "info", MaxSizeMB: 1, MaxDays: 2, MaxFiles: 10, Name: "test"}
	one, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	two, err := New(o) // a second process, as during a reload
	if err != nil {
		t.Fatal(err)
	}
	one.Debug("not shown")
	one.Info("first", zap.String("text", "a\x1b[31m\nb"))
	two.Info("second")
	if err := one.SetLevel("debug"); err != nil {
		t.Fatal(err)
	}
	one.Debug("shown")
	path := filepath.Join(dir, "wsframe-"+time.Now().Format(time.DateOnly)+".log")
	got := lines(t, path)
	if len(got) != 3 || got[0]["msg"] != "first" || got[1]["msg"] != "second" || got[2]["msg"] != "shown" || got[0]["by"] != "test" {
		t.Fatalf("%v", got)
	}
	if raw, _ := os.ReadFile(path); bytes.ContainsRune(raw, 0x1b) {
		t.Fatal("control bytes are raw")
	}
	// Beyond the size, each process switches to the next name on its own.
	big := strings.Repeat("x", 64<<10)
	for range 40 {
		one.Info(big)
	}
	two.Info("found the way")
	if _, err := os.Stat(strings.TrimSuffix(path, ".log") + ".1.log"); err != nil {
		t.Fatal(err)
	}
	// A new day begins a new file.
	tomorrow := time.Now().AddDate(0, 0, 1)
	one.file.now = func() time.Time { return tomorrow }
	one.Info("tomorrow")
	next := filepath.Join(dir, "wsframe-"+tomorrow.Format(time.DateOnly)+".log")
	if got := lines(t, next); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	// Some days later, the old files are removed.
	later := time.Now().AddDate(0, 0, 9)
	one.file.now = func() time.Time { return later }
	one.Info("later")
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(left) != 1 {
		t.Fatalf("left: %v", left)
	}
	// Another program rotates the file.
	if err := os.Rename(left[0], left[0]+".old"); err != nil {
		t.Fatal(err)
	}
	if err := one.Reopen(); err != nil {
		t.Fatal(err)
	}
	one.Info("after")
	if got := lines(t, left[0]); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
}

// The number of files is limited within a day, too. The newest entries stay, and other files of the
// directory are not touched.
func TestOldOnesGo(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"wsframe-2020-01-01.log", "wsframe-2020-01-01.10.log", "wsframe-backup.log", "wsframe-2020-01-01.x.log", "wsframe-2020-01-01.01.log", "console.out",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Dir: dir, MaxSizeMB: 1, MaxFiles: 3}
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	big := strings.Repeat("x", 600<<10)
	for range 26 { // two entries fit into a file
		l.Info(big)
	}
	again, err := New(o) // continues in the last file
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	again.Info("the last")
	day := time.Now().Format(time.DateOnly)
	want := []string{"console.out", fileName(day, 11), fileName(day, 12), fileName(day, 13), "wsframe-2020-01-01.01.log", "wsframe-2020-01-01.x.log", "wsframe-backup.log"}
	var got []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if b := lines(t, filepath.Join(dir, fileName(day, 13))); b[len(b)-1]["msg"] != "the last" {
		t.Error("the last entry is elsewhere")
	}
}

// If no file can be opened, the old one is continued, and the error is reported once a second, not
// for every entry.
func TestNoFileToOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	l, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	reported := 0
	now := time.Now().AddDate(0, 0, 1)
	l.file.report = func(error) { reported++ }
	l.file.now = func() time.Time { return now }
	for range 100 {
		l.Info("goes nowhere, harmlessly")
	}
	if reported != 1 {
		t.Errorf("reported %d times", reported)
	}
	now = now.Add(2 * time.Second)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l.Info("is back")
	if got := lines(t, filepath.Join(dir, fileName(now.Format(time.DateOnly), 0))); len(got) != 1 || reported != 1 {
		t.Errorf("%v, reported %d times", got, reported)
	}
}

// Entries of several writers are whole lines, in any number of files.
func TestWritersShareFiles(t *testing.T) {
	dir := t.TempDir()
	const writers, entries = 4, 300
	var wg sync.WaitGroup
	for range writers {
		l, err := New(Options{Dir: dir, MaxSizeMB: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for range 2 {
			wg.Go(func() {
				for range entries / 2 {
					l.Info(strings.Repeat("y", 4000))
				}
			})
		}
	}
	wg.Wait()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) < 2 {
		t.Fatal(names, err)
	}
	n := 0
	for _, name := range names {
		n += len(lines(t, name))
	}
	if n != writers*entries {
		t.Errorf("%d entries", n)
	}
}

func TestBadOptions(t *testing.T) {
	if _, err := New(Options{Dir: t.TempDir(), Level: "loud"}); err == nil {
		t.Error("level loud was taken")
	}
	f := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(f, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Dir: filepath.Join(f, "logs"), Level: "info"}); err == nil {
		t.Error("a file was taken as directory")
	}
}
