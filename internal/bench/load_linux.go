package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// request is a sent text whose reply is expected.
type request struct {
	due   time.Duration // since the load began
	other bool
}

// times holds the latencies of a load.
type times struct {
	begun time.Time
	open  int // requests without a reply
	count int
	took  []time.Duration
}

func (t *times) send(c *client, text []byte, due time.Duration, other bool) error {
	c.asked = append(c.asked, request{due, other})
	t.open++
	return c.write(text)
}

// replied notes the replies that a client has received beyond a number of frames.
func (t *times) replied(c *client, before int) error {
	now := time.Since(t.begun)
	for range c.frames - before {
		if len(c.asked) == 0 {
			return fmt.Errorf("a frame that was not asked for")
		}
		if !c.asked[0].other {
			t.took = append(t.took, now-c.asked[0].due)
		}
		c.asked = slices.Delete(c.asked, 0, 1)
		t.open--
		t.count++
	}
	return nil
}

func (t *times) String() string {
	slices.Sort(t.took)
	at := func(share float64) int64 {
		if len(t.took) == 0 {
			return 0
		}
		return t.took[int(share*float64(len(t.took)-1))].Microseconds()
	}
	return fmt.Sprintf("%d %d %d %d", t.count, at(0.5), at(0.99), at(1))
}

// pace sends texts at a fixed rate, whatever the replies take.
func (l *listeners) pace(args string) (string, error) {
	part := strings.Split(args, "\t")
	if len(part) != 5 {
		return "", fmt.Errorf("pace: %q", args)
	}
	rate, length, every := number(part[0]), time.Duration(number(part[1]))*time.Millisecond, number(part[3])
	text, other := masked(part[2]), masked(part[4])
	t := &times{begun: time.Now(), took: make([]time.Duration, 0, int(length.Seconds()*float64(rate))+1)}
	last := t.begun
	for sent := 0; ; {
		for {
			due := time.Duration(sent) * time.Second / time.Duration(rate)
			if due >= length || due > time.Since(t.begun) {
				break
			}
			c, b, isOther := &l.list[sent%len(l.list)], text, every > 0 && sent%every == 0
			if isOther {
				b = other
			}
			if err := t.send(c, b, due, isOther); err != nil {
				return "", err
			}
			sent++
		}
		next := time.Duration(sent) * time.Second / time.Duration(rate)
		if next >= length && t.open == 0 {
			return t.String(), nil
		}
		wait := silence
		if next < length {
			wait = next - time.Since(t.begun)
		}
		before := t.count
		if _, err := l.read(wait, func(i, before int) error { return t.replied(&l.list[i], before) }); err != nil {
			return "", err
		}
		if now := time.Now(); t.count > before {
			last = now
		} else if now.Sub(last) > silence {
			return "", fmt.Errorf("no reply for %s, %d are missing", silence, t.open)
		}
	}
}

// flood sends the next text of a client as soon as it has the reply to the one before.
func (l *listeners) flood(args string) (string, error) {
	ms, rest, _ := strings.Cut(args, "\t")
	length, text := time.Duration(number(ms))*time.Millisecond, masked(rest)
	t := &times{begun: time.Now()}
	for i := range l.list {
		if err := t.send(&l.list[i], text, time.Since(t.begun), false); err != nil {
			return "", err
		}
	}
	for t.open > 0 {
		n, err := l.read(silence, func(i, before int) error {
			c := &l.list[i]
			if c.frames == before {
				return nil
			}
			if err := t.replied(c, before); err != nil {
				return err
			}
			if now := time.Since(t.begun); now < length {
				return t.send(c, text, now, false)
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		if n == 0 {
			return "", fmt.Errorf("no reply for %s, %d are missing", silence, t.open)
		}
	}
	return t.String(), nil
}

// number reads a number of the bench's own.
func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}
