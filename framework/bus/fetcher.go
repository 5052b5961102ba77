package bus

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework/internal/backoff"
)

const (
	// Bounds of the entries that one XREAD asks for: few while their size is not known.
	minRead, maxRead = 32, 512
	readBytes        = 4 << 20 // about how many bytes one XREAD asks for

	// rereadTime is how much is read again after Redis has lost data: an entry written since may
	// have an id below the newest one that was read.
	rereadTime = 10 * time.Minute

	// idleReads is after how many reads without an entry the position is compared with the stream's
	// end.
	idleReads = 10
)

// fetcher reads one stream ahead of the reader, and survives outages of Redis. It belongs to one
// goroutine, which may outlive the reader: it may be blocked in Redis.
type fetcher struct {
	s        *shard
	position id // of the last entry that was read
	floor    id // nothing up to it is ever read

	count  int  // entries to ask for
	idle   int  // reads without an entry since the position was compared
	quiet  int  // reads without an entry
	shaken bool // the last read failed
	noted  time.Time
	pauses backoff.Backoff
}

func newFetcher(s *shard) *fetcher {
	return &fetcher{
		s: s, position: s.progress.position, floor: s.progress.floor,
		count: minRead, pauses: backoff.Backoff{Min: retryMin, Max: retryMax},
	}
}

// run sends what it reads to entries, until quit is closed.
func (f *fetcher) run(entries chan<- []redis.XMessage, quit <-chan struct{}) {
	log, tag := f.s.cfg.Log, zap.String("shard", f.s.tag)
	for {
		select {
		case <-quit:
			return
		default:
		}
		list, err := f.read()
		if err != nil {
			select {
			case <-quit: // the client may be closed, too
				return
			default:
			}
			if !f.pauses.Failing() {
				log.Warn("messages between nodes cannot be read; tried again", tag, zap.Error(err))
			}
			f.shaken, f.count = true, max(f.count/2, 1) // large ones may take too long
			if !f.pauses.Wait(quit) {
				return
			}
			continue
		}
		if f.pauses.Reset() {
			log.Info("messages between nodes are read again", tag)
		}
		if !f.note(list) {
			continue
		}
		select {
		case entries <- list:
		case <-quit:
			return
		}
	}
}

// read reads the next entries, after it has checked the position and registered this node where
// that is due.
func (f *fetcher) read() ([]redis.XMessage, error) {
	s := f.s
	if f.shaken || f.idle >= idleReads {
		if err := f.check(); err != nil {
			return nil, err
		}
	}
	if !s.cfg.Alone && (f.shaken || time.Since(f.noted) >= readerTime) {
		f.noted = time.Now()
		switch err := s.epoch.enter(context.Background()); {
		case errors.Is(err, errDoubt): // others are asked; nothing is kept meanwhile
			f.noted = time.Time{}
		case err != nil:
			return nil, err
		}
	}
	if f.shaken {
		s.doubtful.Store(true)
		s.nudge()
	}
	if f.idle >= idleReads {
		f.idle = 0
	}
	f.shaken = false
	return s.read(f.position, f.count)
}

// note moves the position behind the entries. It reports whether there are any.
func (f *fetcher) note(list []redis.XMessage) bool {
	f.count = nextRead(list)
	if f.idle++; len(list) == 0 {
		if f.quiet++; f.quiet == quietReads(f.s.cfg.StreamAge) {
			f.cut()
		}
		return false
	}
	f.idle, f.quiet = 0, 0
	if last, err := parseID(list[len(list)-1].ID); err == nil {
		f.position = last
	}
	return true
}

// cut removes everything from a stream that nobody has written to for as long as it keeps messages.
// It works in a Redis without memory as well, and helps there.
func (f *fetcher) cut() {
	if err := f.s.cut(f.position); err != nil {
		f.s.cfg.Log.Debug("old messages between nodes cannot be removed", zap.String("shard", f.s.tag), zap.Error(err))
	}
}

// check moves the position back where the stream has lost data: where it has never been as far as
// the position. The numbers of the messages tell then which are new.
func (f *fetcher) check() error {
	end, exists, err := f.s.end(context.Background())
	if err != nil || exists && !end.less(f.position) || !exists && f.position == f.floor {
		return err
	}
	back := f.floor
	if ms := uint64(rereadTime.Milliseconds()); end.ms > ms && f.floor.less(id{end.ms - ms, 0}) {
		back = id{end.ms - ms, 0}
	}
	f.s.cfg.Log.Warn("redis has lost messages between nodes; some are read again", zap.String("shard", f.s.tag),
		zap.Stringer("read", f.position), zap.Stringer("newest", end), zap.Stringer("again from", back))
	f.position = back
	return nil
}

// nextRead is how many entries to ask for after these. A reader that keeps up asks for few: when it
// falls behind, the first entries it gets may be large.
func nextRead(list []redis.XMessage) int {
	if len(list) == 0 {
		return minRead
	}
	n, bytes := min(max(2*len(list), minRead), maxRead), 1
	for i := range list {
		body, _ := list[i].Values["b"].(string)
		bytes += len(body)
	}
	return min(n, max(readBytes*len(list)/bytes, 1))
}

// quietReads is the number of reads without an entry after which nothing was written for that long.
func quietReads(age time.Duration) int { return int((age + block - 1) / block) }
