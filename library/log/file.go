package log

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// file is a zapcore.WriteSyncer. Each entry is one write in append mode, and no file is ever renamed: a full one is
// continued under the next name, wsframe-2006-01-02.log, wsframe-2006-01-02.1.log, … So processes need not agree.
// (lumberjack, the usual choice, renames and so allows one process only.)
type file struct {
	o      Options
	now    func() time.Time
	report func(error) // what goes wrong with the log itself

	mu       sync.Mutex
	f        *os.File
	day      string // of f
	size     int64  // of f, as far as this process knows
	limit    int64
	retry    time.Time // not before it is another file tried, after one could not be opened
	reported time.Time
}

func openFile(o Options) (*file, error) {
	f := &file{o: o, now: time.Now, limit: int64(o.MaxSizeMB) << 20}
	f.report = func(err error) { _, _ = fmt.Fprintln(Escaped(o.Console), err) }
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f, f.open()
}

func fileName(day string, n int) string {
	if n == 0 {
		return "wsframe-" + day + ".log"
	}
	return fmt.Sprintf("wsframe-%s.%d.log", day, n)
}

// part is one file of ours: the n-th of a day.
type part struct {
	day string
	n   int
}

// parse tells whether a file is one of ours; others in the directory are left alone.
func parse(name string) (p part, ok bool) {
	middle, found := strings.CutPrefix(name, "wsframe-")
	middle, ends := strings.CutSuffix(middle, ".log")
	day, n, numbered := strings.Cut(middle, ".")
	if numbered {
		p.n, _ = strconv.Atoi(n) // 0 gives another name than this
	}
	p.day = day
	_, err := time.Parse(time.DateOnly, day)
	return p, found && ends && err == nil && fileName(p.day, p.n) == name
}

// parts lists our files, newest first.
func (f *file) parts() []part {
	entries, err := os.ReadDir(f.o.Dir)
	if err != nil {
		return nil // opening the file will say it
	}
	var list []part
	for _, e := range entries {
		if p, ok := parse(e.Name()); ok {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b part) int { return cmp.Or(cmp.Compare(b.day, a.day), cmp.Compare(b.n, a.n)) })
	return list
}

// open opens today's last file, or the next where that one is full, and removes what is too old. f.mu is held.
func (f *file) open() error {
	day, n := f.now().Format(time.DateOnly), 0
	for _, p := range f.parts() {
		if p.day == day {
			n = p.n
			break
		}
	}
	for ; ; n++ {
		next, err := os.OpenFile(filepath.Join(f.o.Dir, fileName(day, n)), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
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
		f.f, f.day, f.size = next, day, info.Size()
		f.removeOld()
		return nil
	}
}

// Write implements zapcore.WriteSyncer. When the next file cannot be opened the old one goes on. A disk that takes nothing
// loses the entry and is reported once a second: the server must not fail for its log.
func (f *file) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return 0, fs.ErrClosed
	}
	now := f.now()
	if (f.size >= f.limit || now.Format(time.DateOnly) != f.day) && !now.Before(f.retry) {
		if err := f.open(); err != nil {
			f.retry = now.Add(time.Second)
			f.complain(now, err)
		}
	}
	n, err := f.f.Write(Escape(p))
	f.size += int64(n)
	if err != nil {
		f.complain(now, fmt.Errorf("an entry is lost: %w", err))
	}
	return len(p), nil
}

func (f *file) complain(now time.Time, err error) {
	if now.Sub(f.reported) >= time.Second {
		f.reported = now
		f.report(fmt.Errorf("log: %w", err))
	}
}

// Sync implements zapcore.WriteSyncer: what write(2) took outlives the process, which is enough for logs.
func (f *file) Sync() error { return nil }

func (f *file) reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return fs.ErrClosed
	}
	return f.open()
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

// removeOld removes files by age, and the oldest beyond the number. f.mu is held.
func (f *file) removeOld() {
	oldest := f.now().AddDate(0, 0, -f.o.MaxDays).Format(time.DateOnly)
	for i, p := range f.parts() {
		if i >= f.o.MaxFiles || p.day < oldest {
			_ = os.Remove(filepath.Join(f.o.Dir, fileName(p.day, p.n))) // another process may have been faster
		}
	}
}
