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

// file is a zapcore.WriteSyncer for several processes. Each entry is one write in append mode. A
// full file is not renamed but continued under the next name, wsframe-2006-01-02.log,
// wsframe-2006-01-02.1.log, and so on, so the processes need no coordination. (lumberjack, the
// usual library, renames files, and therefore allows only one process.)
type file struct {
	o      Options
	now    func() time.Time
	report func(error) // receives errors of the log itself

	mu       sync.Mutex
	f        *os.File
	day      string // of f
	size     int64  // of f; other processes may have added more
	limit    int64
	retry    time.Time // earliest time of the next attempt to open a file, after an error
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

// part is a log file: the n-th of a day.
type part struct {
	day string
	n   int
}

// parse parses the name of a log file. Other files of the directory are ignored.
func parse(name string) (p part, ok bool) {
	middle, found := strings.CutPrefix(name, "wsframe-")
	middle, ends := strings.CutSuffix(middle, ".log")
	day, n, numbered := strings.Cut(middle, ".")
	if numbered {
		p.n, _ = strconv.Atoi(n) // an invalid number leads to a different name
	}
	p.day = day
	_, err := time.Parse(time.DateOnly, day)
	return p, found && ends && err == nil && fileName(p.day, p.n) == name
}

// parts lists our files, newest first.
func (f *file) parts() []part {
	entries, err := os.ReadDir(f.o.Dir)
	if err != nil {
		return nil // opening a file returns the error
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

// open opens today's last file, or the next one if that is full, and removes old files. f.mu is
// held.
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
			_ = next.Close() // the file is empty
			continue
		}
		if f.f != nil {
			_ = f.f.Close() // all entries are written
		}
		f.f, f.day, f.size = next, day, info.Size()
		f.removeOld()
		return nil
	}
}

// Write implements zapcore.WriteSyncer. If the next file cannot be opened, the old one is
// continued. If the disk accepts nothing, the entry is lost, and the error is reported once a
// second: the server must not fail because of its log.
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

// Sync implements zapcore.WriteSyncer. It does nothing: data of a write(2) survives the process,
// which is enough for logs.
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

// removeOld removes files beyond the age, and the oldest files beyond the number. f.mu is held.
func (f *file) removeOld() {
	oldest := f.now().AddDate(0, 0, -f.o.MaxDays).Format(time.DateOnly)
	for i, p := range f.parts() {
		if i >= f.o.MaxFiles || p.day < oldest {
			_ = os.Remove(filepath.Join(f.o.Dir, fileName(p.day, p.n))) // another process may have removed it
		}
	}
}
