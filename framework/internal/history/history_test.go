package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsframe/framework/bus"
	"wsframe/framework/internal/directory"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/room"
)

// The first rule that fits a room says how its pushes are kept; a rule that means nothing is
// refused by its text.
func TestRules(t *testing.T) {
	s := newStore(t, "CHAT_*:200:24h", "a:b:5:1s", "*:1:1m")
	for name, want := range map[string]envelope.Delivery{
		"CHAT_1": {Keep: 200, Age: 24 * time.Hour}, "a:b": {Keep: 5, Age: time.Second}, "other": {Keep: 1, Age: time.Minute},
	} {
		var d envelope.Delivery
		if s.Limits(name, &d); d.Keep != want.Keep || d.Age != want.Age {
			t.Errorf("%s: %+v", name, d)
		}
	}
	for rule, wrong := range map[string]string{
		"CHAT_*": "something is missing", "CHAT_*:5": "something is missing", ":5:1h": "cannot be read", "[:5:1h": "cannot be read",
		"WSFRAME_X:5:1h": "reserved", "R:0:1h": "length", "R:100001:1h": "length", "R:x:1h": "length", "R:5:1": "age", "R:5:999ms": "age",
	} {
		_, err := New(Config{Rules: []string{"OK:1:1h", rule}})
		if err == nil || !strings.Contains(err.Error(), strings.SplitN(rule, ":", 2)[0]) || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v", rule, err)
		}
	}
}

// A page has the pushes beyond an offset, or the newest ones, with their positions.
func TestPage(t *testing.T) {
	s := newStore(t)
	s.keep(9, 3)
	s.page.First = 3
	for _, tc := range []struct {
		after int64
		limit int
		want  string
		reads int
	}{
		{0, 2, "[3 4]", 1}, {7, 5, "[8 9]", 1}, {9, 5, "[]", 1}, {-1, 2, "[8 9]", 2}, {-1, 100, "[3 4 5 6 7 8 9]", 2},
	} {
		s.reads = 0
		p, err := s.Page(t.Context(), "R", tc.after, tc.limit)
		if err != nil || p.Room != "R" || p.Epoch != epoch || p.Offset != 9 || p.First != 3 || s.reads != tc.reads {
			t.Errorf("after %d: %+v %v, %d reads", tc.after, p, err, s.reads)
		}
		list := []int64{}
		for _, item := range p.Items {
			list = append(list, item.Offset)
			if want := fmt.Sprintf(`{"n":%d,"room":"R","offset":%d,"epoch":"e"}`, item.Offset, item.Offset); string(item.Push) != want {
				t.Errorf("%s, want %s", item.Push, want)
			}
		}
		if got := fmt.Sprint(list); got != tc.want {
			t.Errorf("after %d: %s, want %s", tc.after, got, tc.want)
		}
	}
	for _, limit := range []int{0, -1, directory.MaxPage + 1} {
		if _, err := s.Page(t.Context(), "R", 0, limit); !errors.Is(err, directory.ErrLimit) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	s.away = true
	for _, after := range []int64{0, -1} {
		if _, err := s.Page(t.Context(), "R", after, 5); !errors.Is(err, errAway) {
			t.Errorf("without Redis: %v", err)
		}
	}
}

func position(offset int64) string {
	return fmt.Sprintf(`sysPosition {"room":"R","offset":%d,"epoch":"e"}`, offset)
}

// A member that joins a room with a history gets the position of that. It is asked for once on
// the bus, and known from then on.
func TestPositionAtJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, "R:10:1h")
		list := []*member{s.member(1), s.member(2), s.member(3)}
		for _, m := range list[:2] {
			if fresh, err := s.Join(&m.Member, "R", false); !fresh || err != nil {
				t.Fatal(fresh, err)
			}
		}
		if len(s.sent) != 1 || s.sent[0].Kind != envelope.Position || s.sent[0].Key != "R" || !s.sent[0].Place {
			t.Fatalf("sent %+v", s.sent)
		}
		s.Position(&bus.Message{Kind: envelope.Position, Key: "R", Offset: 7, Epoch: epoch})
		settle()
		if _, err := s.Join(&list[2].Member, "R", false); err != nil {
			t.Fatal(err)
		}
		settle()
		for _, m := range list {
			m.want(t, position(7))
		}
		if len(s.sent) != 1 {
			t.Errorf("%d questions", len(s.sent))
		}
	})
}

// A question for the position that cannot be sent is asked again by the next one who joins.
func TestPositionCannotBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, "R:10:1h")
		s.full = true
		a, b := s.member(1), s.member(2)
		_, _ = s.Join(&a.Member, "R", false)
		s.full = false
		_, _ = s.Join(&b.Member, "R", false)
		if len(s.sent) != 1 {
			t.Errorf("%d questions", len(s.sent))
		}
	})
}

// While nothing is kept, joins ask for nothing. A push that is kept, or a join that wants it,
// changes that.
func TestNothingIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, begin := range map[string]func(*store){
			"a kept push": func(s *store) { s.Before(message(1)) },
			"a join":      func(s *store) { m := s.member(9); _, _ = s.Join(&m.Member, "another", true); s.sent = nil },
		} {
			s := newStore(t)
			s.Before(&bus.Message{Kind: envelope.ToRoom, Key: "R"})
			m := s.member(1)
			_, _ = s.Join(&m.Member, "R", false)
			if len(s.sent) > 0 {
				t.Errorf("%s: asked before", name)
			}
			begin(s)
			m = s.member(2)
			m.Leave("R")
			_, _ = s.Join(&m.Member, "R", false)
			if len(s.sent) != 1 {
				t.Errorf("%s: %d questions after", name, len(s.sent))
			}
		}
	})
}

// comeBack recovers what the member has missed since p.
func (s *store) comeBack(t *testing.T, m *member, p room.Position, b *Budget) Recovery {
	t.Helper()
	u := m.CatchUp("R")
	if u == nil {
		t.Fatal("another one catches up")
	}
	_, _ = m.Join("R")
	return s.CatchUp(t.Context(), &m.Member, u, b, "R", p, Announce)
}

// A reconnecting client gets the outcome of its recovery and the missed pushes.
func TestCatchUp(t *testing.T) {
	const kept, first = 2000, 101
	for _, tc := range []struct {
		name   string
		p      room.Position
		want   Recovery
		pushes []string
	}{
		{"nothing missed", at(kept), Recovery{Recovered: true, Offset: kept}, nil},
		{"some", at(1997), Recovery{Recovered: true, Offset: kept, Count: 3}, offsets(1998, kept)},
		{"too many", at(999), Recovery{Reason: "tooMany", Offset: kept}, nil},
		{"of another epoch", room.Position{Offset: 1997, Epoch: "f"}, Recovery{Reason: "epoch", Offset: kept}, nil},
		{"of the future", at(kept + 1), Recovery{Reason: "future", Offset: kept}, nil},
		{"before all", at(-1), Recovery{Reason: "future", Offset: kept}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t)
				s.cfg.OutboxBytes = 1 << 20
				s.keep(kept, first)
				m := s.member(1)
				var b Budget
				r := s.comeBack(t, m, tc.p, &b)
				tc.want.Room, tc.want.Epoch, r.reads = "R", epoch, 0
				if r != tc.want {
					t.Errorf("%+v, want %+v", r, tc.want)
				}
				told := fmt.Sprintf(`"recovered":%t,"offset":%d,"epoch":"e","count":%d`, r.Recovered, r.Offset, r.Count)
				got := m.take()
				if len(got) == 0 || !strings.Contains(got[0], told) || !slices.Equal(got[1:], tc.pushes) {
					t.Errorf("got %q, want %s and %q", got, told, tc.pushes)
				}
			})
		})
	}
}

func at(offset int64) room.Position { return room.Position{Offset: offset, Epoch: epoch} }

// A hole in the history, and more than half an outbox, cannot be recovered.
func TestCatchUpInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.keep(10, 6)
		var b Budget
		if r := s.comeBack(t, s.member(1), at(4), &b); r.Reason != "gone" || r.Offset != 10 {
			t.Errorf("%+v", r)
		}
		s.keep(200, 1)
		if r := s.comeBack(t, s.member(2), at(10), &b); r.Reason != "tooMany" || r.Offset != 200 {
			t.Errorf("%+v", r)
		}
	})
}

// Pushes that are published during a recovery come after the missed ones, once.
func TestCatchUpAndLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.keep(5, 1)
		m := s.member(1)
		u := m.CatchUp("R")
		_, _ = m.Join("R")
		gate := make(chan struct{})
		s.gate = gate
		done := make(chan Recovery, 1)
		go func() { done <- s.CatchUp(t.Context(), &m.Member, u, &Budget{}, "R", at(3), Announce) }()
		synctest.Wait()
		s.comes(5) // is in what is read
		s.comes(6)
		settle()
		m.want(t)
		close(gate)
		if r := <-done; !r.Recovered || r.Count != 2 {
			t.Errorf("%+v", r)
		}
		settle()
		if got := m.take()[1:]; !slices.Equal(got, offsets(4, 6)) {
			t.Errorf("got %q", got)
		}
	})
}

// A recovery waits for Redis. After a vain wait the client keeps its position, and recoveries of
// the next second do not wait.
func TestCatchUpWithoutRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.keep(5, 1)
		var b Budget
		s.set(func() { s.away = true })
		time.AfterFunc(storeWait/2, func() { s.set(func() { s.away = false }) })
		m := s.member(1)
		if r := s.comeBack(t, m, at(3), &b); !r.Recovered || r.Count != 2 {
			t.Errorf("after a moment: %+v", r)
		}
		s.set(func() { s.away = true })
		m.LeaveAll()
		for i, wait := range []time.Duration{storeWait, 0} {
			begun, m := time.Now(), s.member(int64(i+2))
			r := s.comeBack(t, m, at(3), &b)
			if r.Recovered || r.Reason != Unavailable || r.Offset != 3 || r.Epoch != epoch || time.Since(begun) != wait {
				t.Errorf("%d: %+v after %v", i, r, time.Since(begun))
			}
			m.want(t, lostUpTo(3, Unavailable))
			s.comes(int64(6 + i)) // what is live comes all the same
			time.Sleep(storePause / 10)
			m.want(t, fmt.Sprint(6+i))
			m.LeaveAll()
		}
		if s.logs.Len() != 1 {
			t.Errorf("logged %v", s.logs.All())
		}
		time.Sleep(storePause)
		s.set(func() { s.away = false })
		m = s.member(9)
		if r := s.comeBack(t, m, at(3), &b); !r.Recovered || r.Count != 2 {
			t.Errorf("when it is back: %+v", r)
		}
		if got := m.take()[1:]; !slices.Equal(got, offsets(4, 5)) {
			t.Errorf("got %q", got)
		}
	})
}

// A client that recovers too often gets tooOften, and costs no read.
func TestCatchUpTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.keep(5, 1)
		m := s.member(1)
		var b Budget
		n := 0
		for ; n < 2000; n++ {
			if r := s.comeBack(t, m, at(5), &b); r.Reason == "tooOften" {
				if r.Offset != 5 || r.Epoch != epoch || r.Recovered {
					t.Errorf("%+v", r)
				}
				break
			}
		}
		if reads := s.reads; n != recoverBurst || reads != n {
			t.Errorf("%d times, %d reads", n, reads)
		}
		time.Sleep(time.Second)
		if r := s.comeBack(t, m, at(5), &b); !r.Recovered {
			t.Errorf("a second later: %+v", r)
		}
	})
}

// A bounded number of clients has histories read at a time; the others wait for their turn, as
// long as they may.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		for range maxReads {
			if !s.Turn(t.Context()) {
				t.Fatal("no turn")
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if s.Turn(ctx) {
			t.Error("one turn too many")
		}
		s.EndTurn()
		if !s.Turn(t.Context()) {
			t.Error("no turn after another's end")
		}
	})
}

// Pages are paid from the connection's budget and the user's, each of which ends them.
func TestPayPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		var a, b, c, d Budget
		pay := func(own *Budget, user string, calls int, want bool) {
			t.Helper()
			if s.PayPage(own, user, calls) != want {
				t.Errorf("paid %t", !want)
			}
		}
		pay(&a, "u", pageBurst, true)
		pay(&a, "u", 1, false)
		pay(&b, "u", pageBurst, true)
		pay(&c, "u", 1, false) // the user's is spent
		pay(&c, "v", 1, true)
		pay(&d, "", pageBurst, true)
		pay(&d, "", 1, false)
		time.Sleep(time.Second)
		pay(&a, "u", 1, true)
	})
}

// Positions in a query are taken as far as they can be read.
func TestParsePositions(t *testing.T) {
	long := strings.Repeat("x", envelope.MaxEpoch)
	for query, want := range map[string]string{
		"":                                   "map[]",
		"auth=x":                             "map[]",
		"recover=R:e:5":                      "map[R:{5 e}]",
		"auth=x&recover=R:e:5,a:b:f:-1,S::0": "map[R:{5 e} S:{0 } a:b:{-1 f}]",
		"recover=R:e:5,R,R:5,:e:1,S:e:x":     "map[R:{5 e}]",
		"recover=R:" + long + ":1,S:" + long + "x:1": "map[R:{1 " + long + "}]",
		"recover=WSFRAME_X:e:1":                      "map[]",
		"recover=R%3Ae%3A5":                          "map[R:{5 e}]",
	} {
		if got := fmt.Sprint(ParsePositions(query)); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	var many []string
	for i := range 2 * MaxRooms {
		many = append(many, fmt.Sprintf("R%d:e:1", i))
	}
	if n := len(ParsePositions("recover=" + strings.Join(many, ","))); n != MaxRooms {
		t.Errorf("%d rooms", n)
	}
}

// A push that cannot be read is left out of what was missed: it would not have come live either.
func TestUnreadablePush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.keep(5, 1)
		s.page.Items[3].Body = []byte{0}
		m := s.member(1)
		r := s.comeBack(t, m, at(2), &Budget{})
		if !r.Recovered || r.Count != 2 || r.Offset != 5 {
			t.Errorf("%+v", r)
		}
		if got := m.take()[1:]; !slices.Equal(got, []string{"3", "5"}) {
			t.Errorf("got %q", got)
		}
	})
}
