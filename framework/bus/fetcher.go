package bus

import (
	"context"
	"errors"
	"slices"
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

// entry is one of a stream's.
type entry struct {
	redis.XMessage
	at id
}

// batch is entries in the order of their ids. With them everything up to end was read.
type batch struct {
	entries []entry
	end     id
}

// fetcher reads a shard's streams ahead of the reader, and survives outages of Redis. It belongs to
// one goroutine, which may outlive the reader: it may be blocked in Redis.
type fetcher struct {
	s        *shard
	position id // everything that is named was read up to it
	floor    id // nothing up to it is ever read

	named []int      // lanes
	all   bool       // everything is read from one stream
	since map[int]id // where the lanes begin
	late  map[int]id // lanes whose first read begins before position
	woken string     // the last id of the stream that wakes
	keys  []string   // of the last read, then its ids

	end      id        // of the shard, when it was asked last
	endSince time.Time // since when
	asked    bool      // end was asked before the read that is under way

	count  int  // entries to ask for
	idle   int  // reads without an entry since the position was compared
	quiet  int  // reads without an entry
	shaken bool // the last read failed
	noted  time.Time
	pauses backoff.Backoff
}

func newFetcher(s *shard) *fetcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &fetcher{
		s: s, position: s.progress.position, floor: s.progress.floor, since: map[int]id{}, late: map[int]id{}, woken: "0-0",
		count: minRead, pauses: backoff.Backoff{Min: retryMin, Max: retryMax},
	}
	for lane := range s.progress.lanes {
		if l := &s.progress.lanes[lane]; l.read {
			f.since[lane] = l.since
		}
	}
	return f
}

// run sends what it reads to batches, until quit is closed.
func (f *fetcher) run(batches chan<- batch, quit <-chan struct{}) {
	log, tag := f.s.cfg.Log, zap.String("shard", f.s.tag)
	for {
		select {
		case <-quit:
			return
		default:
		}
		before := f.position
		entries, err := f.read()
		if err != nil {
			select {
			case <-quit: // the client may be closed, too
				return
			default:
			}
			if f.s.interest != nil {
				f.s.interest.failed()
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
		if len(entries) == 0 && f.position == before {
			continue
		}
		select {
		case batches <- batch{entries, f.position}:
		case <-quit:
			return
		}
	}
}

// read reads the next entries, after it has checked the position and registered this node where
// that is due.
func (f *fetcher) read() ([]entry, error) {
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
	if err := f.plan(); err != nil {
		return nil, err
	}
	f.name()
	list, err := s.read(f.keys, f.count)
	if err != nil {
		return nil, err
	}
	return f.merge(list), nil
}

// plan decides which lanes are read.
func (f *fetcher) plan() error {
	in := f.s.interest
	if in == nil {
		return nil
	}
	var fresh []int
	if f.named, fresh, f.all = in.plan(f.position, time.Now()); len(fresh) > 0 {
		end, _, err := f.s.end(context.Background())
		if err != nil {
			return err
		}
		f.s.mu.Lock()
		in.begin(fresh, end, func(lane int, since id) {
			f.s.progress.begin(lane, since)
			f.since[lane] = since
			if since.less(f.position) {
				f.late[lane] = since
			}
		})
		f.s.mu.Unlock()
	}
	in.satisfied()
	return nil
}

// name makes the arguments of the next read.
func (f *fetcher) name() {
	s := f.s
	f.keys = f.keys[:0]
	ids := make([]string, 0, len(f.named)+3)
	add := func(key string, after id) {
		f.keys, ids = append(f.keys, key), append(ids, after.String())
	}
	if s.interest == nil || f.all {
		from := f.position
		for _, at := range f.late {
			if at.less(from) {
				from = at
			}
		}
		add(s.entries(), from)
	} else {
		add(s.lane(0), f.position)
		for _, lane := range f.named {
			from := f.position
			if at, ok := f.late[lane]; ok {
				from = at
			} else if at := f.since[lane]; from.less(at) {
				from = at
			}
			add(s.lane(lane), from)
		}
	}
	if s.interest != nil && !f.all {
		f.keys, ids = append(f.keys, s.waking(s.sender.Token())), append(ids, f.woken)
	}
	f.keys = append(f.keys, ids...)
}

// merge puts the entries of all streams in order, and moves the position. Where a stream has
// more, entries of others that come later are left for the next read.
func (f *fetcher) merge(list []redis.XStream) []entry {
	s := f.s
	total, most, bytes := 0, 0, 1
	var entries []entry
	var horizon *id
	for i := range list {
		key, messages := list[i].Stream, list[i].Messages
		if len(messages) == 0 {
			continue
		}
		if s.interest != nil && key == s.waking(s.sender.Token()) {
			f.woken = messages[len(messages)-1].ID
			continue
		}
		last := id{}
		for j := range messages {
			at, err := parseID(messages[j].ID)
			if err != nil {
				continue // Redis writes no others
			}
			body, _ := messages[j].Values["b"].(string)
			bytes += len(body)
			entries = append(entries, entry{messages[j], at})
			last = at
		}
		total, most = total+len(messages), max(most, len(messages))
		if len(messages) >= f.count && (horizon == nil || last.less(*horizon)) {
			horizon = &last
		}
	}
	s.counts.read.Add(int64(total))
	f.count = nextRead(most, total, bytes)
	f.idle++
	if total == 0 {
		if f.asked && f.position.less(f.end) {
			f.position = f.end // nothing that is named lies between
		}
		f.asked = false
		if f.quiet++; f.quiet >= quietReads(s.cfg.StreamAge) {
			f.cut()
		}
		clear(f.late)
		return nil
	}
	f.idle, f.quiet, f.asked = 0, 0, false
	if len(list) > 1 {
		slices.SortStableFunc(entries, func(a, b entry) int { return a.at.compare(b.at) })
	}
	if horizon != nil {
		n := len(entries)
		for n > 0 && horizon.less(entries[n-1].at) {
			n--
		}
		entries = entries[:n]
	} else {
		clear(f.late)
	}
	if last := entries[len(entries)-1].at; f.position.less(last) {
		f.position = last
	}
	for lane := range f.late {
		f.late[lane] = entries[len(entries)-1].at
	}
	return entries
}

// cut removes everything from streams that nobody has written to for as long as they keep messages.
// It works in a Redis without memory as well, and helps there.
func (f *fetcher) cut() {
	if time.Since(f.endSince) < f.s.cfg.StreamAge || f.end == (id{}) {
		return
	}
	f.quiet = 0
	if err := f.s.cut(f.end, f.s.all(f.s.cfg.lanes())); err != nil {
		f.s.cfg.Log.Debug("old messages between nodes cannot be removed", zap.String("shard", f.s.tag), zap.Error(err))
	}
}

// check moves the position back where the stream has lost data: where it has never been as far as
// the position. The numbers of the messages tell then which are new.
func (f *fetcher) check() error {
	end, exists, err := f.s.end(context.Background())
	if err == nil && end != f.end {
		f.end, f.endSince = end, time.Now()
	}
	f.asked = err == nil
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
	f.asked = false
	return nil
}

// nextRead is how many entries to ask each stream for after a read of so many in all, and so many
// bytes. A reader that keeps up asks for few: when it falls behind, the first entries it gets may
// be large.
func nextRead(most, total, bytes int) int {
	if total == 0 {
		return minRead
	}
	return min(max(2*most, minRead), maxRead, max(readBytes*total/bytes, 1))
}

// quietReads is the number of reads without an entry after which nothing was written for that long.
func quietReads(age time.Duration) int { return int((age + block - 1) / block) }
