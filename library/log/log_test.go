package log

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
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
	two, err := New(o) // as during a reload
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
	// Beyond the size the next name is taken, by each process on its own.
	big := strings.Repeat("x", 64<<10)
	for range 40 {
		one.Info(big)
	}
	two.Info("found the way")
	if _, err := os.Stat(strings.TrimSuffix(path, ".log") + ".1.log"); err != nil {
		t.Fatal(err)
	}
	// The next day.
	tomorrow := time.Now().AddDate(0, 0, 1)
	one.file.now = func() time.Time { return tomorrow }
	one.Info("tomorrow")
	next := filepath.Join(dir, "wsframe-"+tomorrow.Format(time.DateOnly)+".log")
	if got := lines(t, next); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	// Days later the old ones are gone.
	later := time.Now().AddDate(0, 0, 9)
	one.file.now = func() time.Time { return later }
	one.Info("later")
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(left) != 1 {
		t.Fatalf("left: %v", left)
	}
	// Rotated by others.
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
