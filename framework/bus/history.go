package bus

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Page is a part of a room's history.
type Page struct {
	// Epoch is the room's epoch. Of a room in which nothing was kept for a month it is temporary,
	// and ends with the first kept message.
	Epoch  string
	Offset int64  // of the newest message
	First  int64  // of the oldest one that is still kept; 0 = none is
	Items  []Item // oldest first

	read time.Time
}

// Item is one kept message.
type Item struct {
	Offset int64
	At     time.Time
	Body   []byte
}

// PageItems is the number of entries that one call to Redis asks for: bodies may be large.
const PageItems = 100

// emptyRoomTime is for how long a position is valid that was given while nothing was kept of its
// room. It is shorter than Redis remembers a room's offset.
const emptyRoomTime = 30 * 24 * time.Hour

// History returns the messages of a room with offsets above after, oldest first, at most limit of
// them. Fewer are returned only where there are no more. Each 100 cost a call to Redis, which has
// Config.Timeout.
func (b *Bus) History(ctx context.Context, room string, after int64, limit int) (Page, error) {
	s := b.shard(room)
	keys := []string{s.history(room), s.offset(room), s.record()}
	after = min(max(after, 0), 1<<53-2)
	var page Page
	for begin := after; ; {
		n := max(min(limit-len(page.Items), PageItems), 1) // the head of a page costs an entry too
		reply, err := s.run(ctx, read, keys, append([]any{begin, n}, s.epoch.arguments()...))
		if err != nil {
			return Page{}, fmt.Errorf("read the history of %q: %w", room, err)
		}
		part, err := parsePage(reply)
		if err == nil {
			err = s.epoch.learn(part.shardEpoch, part.shardCount)
		}
		if err != nil {
			return Page{}, fmt.Errorf("read the history of %q: %w", room, err)
		}
		if page.Epoch != "" && part.Epoch != page.Epoch { // the room was emptied in between
			page, begin = Page{}, after
			if err := ctx.Err(); err != nil {
				return Page{}, err
			}
			continue
		}
		part.Items = append(page.Items, part.Items...)
		page = part.Page
		if len(page.Items) >= limit || part.looked == begin || part.looked >= page.Offset {
			page.Items = page.Items[:min(len(page.Items), max(limit, 0))]
			return page, nil
		}
		begin = part.looked
	}
}

// pageReply is the script's reply to one call.
type pageReply struct {
	Page
	shardEpoch, shardCount string
	looked                 int64 // the last offset that was looked at
}

func parsePage(a []string) (p pageReply, err error) {
	if len(a) == 1 && a[0] == "DOUBT" {
		return p, errDoubt
	}
	if len(a) < 6 || len(a)%3 != 0 {
		return p, fmt.Errorf("an answer of %d parts", len(a))
	}
	p.read = time.Now()
	number := func(text string) (n int64) {
		n, e := strconv.ParseInt(text, 10, 64)
		if e != nil {
			err = e
		}
		return n
	}
	p.shardEpoch, p.shardCount = a[0], a[1]
	p.Epoch, p.Offset, p.First, p.looked = a[2], number(a[3]), number(a[4]), number(a[5])
	for a = a[6:]; len(a) > 0; a = a[3:] {
		p.Items = append(p.Items, Item{number(a[0]), time.UnixMilli(number(a[1])), []byte(a[2])})
	}
	return p, err
}

// Follows reports whether a position that was given before is one of the page's epoch, and its
// offset there. A position from a time when nothing was kept of the room is the beginning of the
// history.
func (p *Page) Follows(epoch string, offset int64) (int64, bool) {
	if epoch == p.Epoch || epoch == "" {
		return offset, epoch != ""
	}
	at, shard, ok := strings.Cut(strings.TrimPrefix(epoch, "~"), ".")
	seconds, err := strconv.ParseInt(at, 10, 64)
	_, now, _ := strings.Cut(p.Epoch, ".")
	return 0, ok && epoch[0] == '~' && err == nil && offset == 0 && shard == now && p.read.Sub(time.Unix(seconds, 0)) < emptyRoomTime
}
