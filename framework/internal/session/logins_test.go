package session

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/bus"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

// login binds a connection, and delivers its login.
func (f *fixture) login(c *hub.Conn) {
	f.t.Helper()
	if err := f.Bind(c, "u"); err != nil {
		f.t.Fatal(err)
	}
	f.want(fmt.Sprint("send ", envelope.Login, " u ", c.FD))
	f.Logins.Received(loginOf(c.FD))
}

func loginOf(fd int64) *bus.Message {
	return &bus.Message{Key: "u", Body: strconv.AppendInt(nil, fd, 10)}
}

func (f *fixture) wantEnd(fd int64, code int, reason string) {
	f.t.Helper()
	if got := <-f.ends; got != fmt.Sprint(fd, " ", code, " ", reason) {
		f.t.Error(got)
	}
}

// With replace, a login closes the earlier connections whose own login has had its turn.
func TestReplace(t *testing.T) {
	f := newFixture(t, Config{SecondLogin: loginReplace})
	first, _ := f.connect(auth.Identity{}, nil)
	second, _ := f.connect(auth.Identity{}, nil)
	third, _ := f.connect(auth.Identity{}, nil)
	f.login(first)
	if err := f.Bind(third, "u"); err != nil { // its login has not come yet
		t.Fatal(err)
	}
	f.want(fmt.Sprint("send ", envelope.Login, " u 3"))
	f.login(second)
	f.wantEnd(1, wire.CloseReplaced, closeReplaced)
	f.Logins.Received(&bus.Message{Key: "u", Body: []byte("x")})
	if third.Ended() || second.Ended() {
		t.Error("a later login is closed")
	}
}

func TestAllow(t *testing.T) {
	f := newFixture(t, Config{})
	c, _ := f.connect(auth.Identity{}, nil)
	if err := f.Bind(c, "u"); err != nil {
		t.Error(err)
	}
	f.want()
}

// With refuse, later logins wait until it is known whether the earlier connection is alive. If it
// is, they are refused, on whatever node they are.
func TestRefuse(t *testing.T) {
	f := newFixture(t, Config{SecondLogin: loginRefuse})
	first, client := f.connect(auth.Identity{}, nil)
	second, _ := f.connect(auth.Identity{}, nil)
	f.login(first)
	synctest.Test(t, func(t *testing.T) {
		f.Logins.life = t.Context()
		f.login(second)
		f.Logins.Received(loginOf(99)) // another node's
		synctest.Wait()
		if n := Of(first).LoginsWait(); n != 2 {
			t.Error(n, "wait")
		}
		if _, err := client.Write([]byte{0x81, 0x81, 0, 0, 0, 0, 'x'}); err != nil {
			t.Error(err)
		}
		<-f.messages // a channel from outside of the bubble, whose time stands still meanwhile
		time.Sleep(pongLimit)
	})
	f.wantEnd(2, wire.CloseRefused, closeRefused)
	f.want(fmt.Sprint("send ", envelope.Refusal, " u 99"))
	if first.Ended() || Of(first).LoginsWait() != 0 {
		t.Error("the earlier connection")
	}
	f.Logins.Refused(loginOf(1))
	f.Logins.Refused(loginOf(99))
	f.wantEnd(1, wire.CloseRefused, closeRefused)
}

// A connection that is silent for pongTime is closed in favour of the later logins.
func TestRefuseSilent(t *testing.T) {
	f := newFixture(t, Config{SecondLogin: loginRefuse})
	first, _ := f.connect(auth.Identity{}, nil)
	second, _ := f.connect(auth.Identity{}, nil)
	f.login(first)
	synctest.Test(t, func(t *testing.T) {
		f.Logins.life = t.Context()
		f.login(second)
		time.Sleep(pongLimit)
	})
	f.wantEnd(1, wire.CloseReplaced, closeReplaced)
	if second.Ended() {
		t.Error("the later login is closed")
	}
}

// A uid that the earlier connection gives up meanwhile is no reason to refuse or close anything,
// and a worker that stops decides nothing.
func TestRefuseNobody(t *testing.T) {
	for _, stops := range []bool{false, true} {
		f := newFixture(t, Config{SecondLogin: loginRefuse})
		first, _ := f.connect(auth.Identity{}, nil)
		second, _ := f.connect(auth.Identity{}, nil)
		f.login(first)
		synctest.Test(t, func(t *testing.T) {
			life, end := context.WithCancel(t.Context())
			defer end()
			f.Logins.life = life
			f.login(second)
			synctest.Wait()
			if stops {
				end()
			} else {
				f.Unbind(first, "u")
			}
			time.Sleep(pongLimit)
		})
		if first.Ended() || second.Ended() {
			t.Error("closed")
		}
	}
}

// The number of waiting logins is bounded, and those that moved with a connection are settled by
// the next worker.
func TestRivals(t *testing.T) {
	f := newFixture(t, Config{SecondLogin: loginRefuse})
	first, _ := f.connect(auth.Identity{}, nil)
	f.login(first)
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		f.Logins.life = life
		for i := range maxRivals + 1 {
			f.Logins.Received(loginOf(int64(100 + i)))
		}
		f.want(fmt.Sprint("send ", envelope.Refusal, " u ", 100+maxRivals))
		if n := Of(first).LoginsWait(); n != maxRivals {
			t.Error(n, "wait")
		}
		end()
	})
	Of(first).contested().rivals = []rival{{"u", 7}}
	synctest.Test(t, func(t *testing.T) {
		f.Logins.life = t.Context()
		f.Begin(first)
		time.Sleep(pongLimit)
	})
	f.wantEnd(1, wire.CloseReplaced, closeReplaced)
}
