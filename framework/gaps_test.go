package framework_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// lossOf is for tests in which pushes to a room are stored, and gone from the bus before anybody
// has read them.
type lossOf struct {
	t                       *testing.T
	client                  redis.UniversalClient
	history, offset, stream string
	room                    string
	entry                   map[string]any
	number                  int
}

func loss(t *testing.T, h *frameworktest.Harness, room string) *lossOf {
	t.Helper()
	l := &lossOf{t: t, client: h.Redis}
	for i := range 4 {
		tag := fmt.Sprintf("{s%d}", i)
		if h.Redis.Exists(t.Context(), "WEBSOCKET_OFFSET:"+tag+":"+room).Val() == 1 {
			l.history, l.offset, l.stream = "WEBSOCKET_HISTORY:"+tag+":"+room, "WEBSOCKET_OFFSET:"+tag+":"+room, "WEBSOCKET_BUS:"+tag
		}
	}
	for _, key := range h.Redis.Keys(t.Context(), l.stream+":*").Val() { // the room's sub-stream
		if h.Redis.Type(t.Context(), key).Val() != "stream" {
			continue
		}
		for _, e := range h.Redis.XRange(t.Context(), key, "-", "+").Val() {
			if e.Values["k"] == room {
				l.stream = key
			}
		}
	}
	l.room = room
	entries := h.Redis.XRange(t.Context(), l.history, "-", "+").Val()
	if len(entries) == 0 {
		t.Fatal("the room has no history")
	}
	l.entry = entries[0].Values
	return l
}

// of stores the pushes with these offsets; what is not stored is gone from the history, too.
func (l *lossOf) of(from, to int64, stored bool) {
	l.t.Helper()
	for i := from; i <= to; i++ {
		if stored {
			id := fmt.Sprintf("%d-1", i)
			if err := l.client.XAdd(l.t.Context(), &redis.XAddArgs{Stream: l.history, ID: id, Values: []any{
				"t", time.Now().UnixMilli(), "a", time.Hour.Milliseconds(), "b", l.entry["b"]}}).Err(); err != nil {
				l.t.Fatal(err)
			}
		}
		if err := l.client.HSet(l.t.Context(), l.offset, "offset", i).Err(); err != nil {
			l.t.Fatal(err)
		}
	}
}

// seen has the readers see that messages of some sender are gone.
func (l *lossOf) seen() {
	l.t.Helper()
	begin := time.Now() // an id of the same millisecond may be one that was read
	for time.Since(begin) < 2*time.Millisecond {
		runtime.Gosched()
	}
	for range 2 {
		l.number += 10
		if err := l.client.XAdd(l.t.Context(), &redis.XAddArgs{Stream: l.stream, Values: []any{"h", fmt.Sprintf("SENDER %d@%s 1", l.number, l.stream[strings.LastIndex(l.stream, ":")+1:]), "k", l.room, "b", ""}}).Err(); err != nil {
			l.t.Fatal(err)
		}
	}
}

func TestGaps(t *testing.T) {
	t.Parallel()
	list := frameworktest.NewCluster(t, 3, mountHall, frameworktest.Config(func(c *config.App) { c.Limits.OutboxBytes = 64 << 10 }))
	speaker := list[1].Dial(user("s"))
	var members []*frameworktest.Client
	for i := range 6 {
		c := list[i%3].Dial(user(fmt.Sprint(i)))
		fdOf(c, "room")
		members = append(members, c)
	}
	plain := list[0].Dial(user("p"))
	fdOf(plain, "plain")
	say := func(keep int) {
		t.Helper()
		speaker.Call("hall.say", map[string]any{"room": "room", "text": "x", "keep": keep}).Want(200, "said")
	}
	want := func(from, to int64) (epoch string) {
		t.Helper()
		for _, c := range members {
			epoch = wantOffsets(t, c, from, to)
		}
		return epoch
	}
	say(1000)
	epoch := want(1, 1)
	l := loss(t, list[0], "room")

	// The next push shows it.
	l.of(2, 30, true)
	say(1000)
	want(2, 31)
	say(1000)
	want(32, 32)
	// So does any message of the shard.
	l.of(33, 40, true)
	l.seen()
	want(33, 40)
	say(1000)
	want(41, 41)

	// Who comes back in the meantime gets it once.
	l.of(42, 45, true)
	back := list[0].DialQuery(user("b"), "recover=room:"+epoch+":40")
	fdOf(back, "room")
	if f := back.WantPush("sysRecovered"); !strings.Contains(string(f.Param), `"recovered":true`) {
		t.Errorf("%s", f.Param)
	}
	wantOffsets(t, back, 41, 41) // the others are expected live
	say(1000)
	want(42, 46)
	wantOffsets(t, back, 42, 46)

	// What is gone from the history is told.
	told := func(offset int64, reason string) {
		t.Helper()
		for _, c := range append(members, back) {
			var r struct {
				Room, Epoch, Reason string
				Recovered           bool
				Offset              int64
			}
			c.WantPush("sysRecovered").Into(&r)
			if r.Room != "room" || r.Recovered || r.Reason != reason || r.Offset != offset || r.Epoch != epoch {
				t.Fatalf("%+v", r)
			}
		}
	}
	l.of(47, 50, false)
	l.of(51, 52, true)
	say(1000)
	told(52, "gone")
	want(53, 53)
	wantOffsets(t, back, 53, 53)
	l.of(54, 55, false)
	l.seen()
	told(55, "gone")
	say(1000)
	want(56, 56)
	wantOffsets(t, back, 56, 56)
	for _, c := range append(members, back, plain) {
		c.WantNothing()
	}
}
