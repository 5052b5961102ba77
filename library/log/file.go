package log

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// file is a zapcore.WriteSyncer. Each entry is one write in append mode, and no file is ever renamed: a full one is
// continued under the next name, wsframe-2006-01-02.log, wsframe-2006-01-02.1.log, … So processes need not agree.
// (lumberjack, the usual choice, renames and so allows one process only.)
type file struct {
	o   Options
	now func() time.Time

	mu    sync.Mutex
	f     *os.File
	day   string
	n     int   // of the day
	size  int64 // as far as this process knows
	limit int64
}

func openFile(o Options) (*file, error) {
	f := &file{o: o, now: time.Now, limit: int64(o.MaxSizeMB) << 20}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f, f.openDay(f.now().Format(time.DateOnly))
}

func (f *file) name(day string, n int) string {
	if n == 0 {
		return filepath.Join(f.o.Dir, "wsframe-"+day+".log")
	}
	return filepath.Join(f.o.Dir, fmt.Sprintf("wsframe-%s.%d.log", day, n))
}

// openDay opens the day's last file that has room. f.mu is held.
func (f *file) openDay(day string) error {
	if day != f.day {
		f.day, f.n = day, 0
		f.removeOld()
	}
	for ; ; f.n++ {
		next, err := os.OpenFile(f.name(day, f.n), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			return fmt.Errorf("open the log file: %w", err)
		}
		info, err := next.Stat()
		if err != nil {
			return errors.Join(fmt.Errorf("open the log file: %w", err), next.Close())
		}
		if info.Size() >= f.limit {
			_ = next.Close() // nothing was written
			continue
		}
		if f.f != nil {
			_ = f.f.Close() // its entries are written
		}
		f.f, f.size = next, info.Size()
		return nil
	}
}

// Write implements zapcore.WriteSyncer. When the next file cannot be opened the old one goes on.
func (f *file) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return 0, fs.ErrClosed
	}
	if day := f.now().Format(time.DateOnly); day != f.day || f.size >= f.limit {
		if err := f.openDay(day); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	n, err := f.f.Write(p)
	f.size += int64(n)
	return n, err
}

// Sync implements zapcore.WriteSyncer: what write(2) took outlives the process, which is enough for logs.
func (f *file) Sync() error { return nil }

func (f *file) reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return fs.ErrClosed
	}
	return f.openDay(f.now().Format(time.DateOnly))
}

func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}

// removeOld removes files by age, then the oldest beyond the number. f.mu is held.
func (f *file) removeOld() {
	names, err := filepath.Glob(filepath.Join(f.o.Dir, "wsframe-*.log"))
	if err != nil {
		return // the pattern is ours
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(b, a) }) // newest first
	oldest := "wsframe-" + f.now().AddDate(0, 0, -f.o.MaxDays).Format(time.DateOnly)
	for i, name := range names {
		if i >= f.o.MaxFiles || filepath.Base(name) < oldest {
			_ = os.Remove(name) // another process may have been faster
		}
	}
}
