package bus

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Page is a part of a room's history.
type Page struct {
	Epoch  string // as long as nothing was kept of that room for a month, one that the first kept message ends
	Offset int64  // of the newest message
	First  int64  // of the oldest that is still kept; 0 = none is
	Items  []Item // oldest first

	read time.Time
}

// Item is one kept message.
type Item struct {
	Offset int64
	At     time.Time
	Body   []byte
}

// PageItems is how many entries one call asks for: the bodies may be large.
const PageItems = 100

// History gives the messages of a room with offsets after that one, oldest first, at most limit of them. Fewer are given only
// where there are no more. Each 100 cost a call to Redis, each with Timeout.
func (b *Bus) History(ctx context.Context, room string, after int64, limit int) (Page, error) {
	s := b.shard(room)
	keys := []string{s.history(room), s.offset(room), s.record()}
	after = min(max(after, 0), 1<<53-2)
	var page Page
	for begin := after; ; {
		n := max(min(limit-len(page.Items), PageItems), 1) // the head of a page costs an entry too
		args := append([]any{begin, n}, s.arguments()...)
		answer, err := call(ctx, b.cfg.Timeout, func(ctx context.Context) ([]string, error) {
			return read.Run(ctx, b.cfg.Client, keys, args...).StringSlice()
		})
		if err != nil {
			return Page{}, fmt.Errorf("read the history of %q: %w", room, err)
		}
		part, looked, err := s.parsePage(answer)
		if err != nil {
			return Page{}, fmt.Errorf("read the history of %q: %w", room, err)
		}
		if page.Epoch != "" && part.Epoch != page.Epoch { // it was emptied in between
			page, begin = Page{}, after
			if err := ctx.Err(); err != nil {
				return Page{}, err
			}
			continue
		}
		part.Items = append(page.Items, part.Items...)
		page = part
		if len(page.Items) >= limit || looked == begin || looked >= page.Offset {
			page.Items = page.Items[:min(len(page.Items), max(limit, 0))]
			return page, nil
		}
		begin = looked
	}
}

func (s *shard) parsePage(a []string) (p Page, looked int64, err error) {
	if len(a) == 1 && a[0] == "DOUBT" {
		return p, 0, errDoubt
	}
	if len(a) < 6 || len(a)%3 != 0 {
		return p, 0, fmt.Errorf("an answer of %d parts", len(a))
	}
	if err := s.told(a[0], a[1]); err != nil {
		return p, 0, err
	}
	p.read = time.Now()
	number := func(text string) (n int64) {
		n, e := strconv.ParseInt(text, 10, 64)
		if e != nil {
			err = e
		}
		return n
	}
	p.Epoch, p.Offset, p.First, looked = a[2], number(a[3]), number(a[4]), number(a[5])
	for a = a[6:]; len(a) > 0; a = a[3:] {
		p.Items = append(p.Items, Item{number(a[0]), time.UnixMilli(number(a[1])), []byte(a[2])})
	}
	return p, looked, err
}
