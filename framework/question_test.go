//go:build unix

package framework_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

type orderOut struct {
	Price int `json:"price"`
}

type confirmed struct {
	Code string `json:"code" validate:"required,max=4"`
}

var (
	confirm = framework.Question[orderOut, confirmed]("orderConfirm", "请确认订单")
	ping    = framework.Question[framework.None, framework.None]("areYouThere")
)

// shop asks its customers.
type shop struct {
	asked chan error
	gate  chan struct{} // for Later
}

// Later asks once the gate is open.
func (s *shop) Later(c *framework.Ctx, in *orderOut) (*confirmed, error) {
	<-s.gate
	return s.Buy(c, in)
}

func (s *shop) Buy(c *framework.Ctx, in *orderOut) (*confirmed, error) {
	a, err := confirm.Ask(c, c, *in)
	if err != nil {
		s.asked <- err
		return nil, framework.NewFail(409, "notBought", "")
	}
	return &a, nil
}

func (s *shop) Hurry(c *framework.Ctx) (*framework.None, error) {
	ctx, cancel := context.WithTimeout(c, time.Millisecond)
	defer cancel()
	_, err := ping.Ask(ctx, c, framework.None{})
	s.asked <- err
	return nil, nil
}

// Many asks from goroutines that outlive the action.
func (s *shop) Many(c *framework.Ctx) (*framework.None, error) {
	for range 20 {
		go func() {
			_, err := ping.Ask(c, c, framework.None{})
			s.asked <- err
		}()
	}
	return nil, nil
}

func (s *shop) Look(*framework.Ctx) (*framework.None, error) { return nil, nil }

func (s *shop) mount(d framework.Deps) ([]framework.Controller, error) {
	list, err := mountHall(d)
	return append(list, framework.Mount("shop", s)), err
}

// asked returns the number of the question that arrives next.
func asked(t *testing.T, c *frameworktest.Client, event, param string) (number int64) {
	t.Helper()
	text := c.Receive()
	var f struct {
		Status int             `json:"status"`
		Event  string          `json:"event"`
		Param  json.RawMessage `json:"param"`
		Ask    int64           `json:"ask"`
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil || f.Status != 200 || f.Event != event || string(f.Param) != param || f.Ask < 1 {
		t.Fatalf("%s, want the question %s with %s", text, event, param)
	}
	return f.Ask
}

func TestAsk(t *testing.T) {
	s := &shop{asked: make(chan error, 32)}
	h := frameworktest.New(t, s.mount, frameworktest.Quiet())
	c, other := h.Dial(screen("1")), h.Dial(screen("2"))
	answer := func(c *frameworktest.Client, ask int64, rest string) {
		c.Send(fmt.Sprintf(`{"method":"sys.answer","ask":%d,%s}`, ask, rest))
	}

	// Frames behind the action wait, and the answer does not. Foreign and late answers are ignored.
	c.Send(`{"method":"shop.buy","price":7,"id":1}`)
	n := asked(t, c, "orderConfirm", `{"price":7}`)
	c.Send(`{"method":"shop.look","id":2}`)
	answer(other, n, `"param":{"code":"bad"}`)
	other.Call("shop.look", nil).Want(200, "shopLookSuccess")
	answer(c, n+1, `"param":{"code":"no"}`)
	answer(c, n, `"param":{"code":"yes"}`)
	answer(c, n, `"param":{"code":"two"}`)
	if got := c.Receive(); got != `{"status":200,"event":"shopBuySuccess","info":"","param":{"code":"yes"},"id":1}` {
		t.Error(got)
	}
	if got := c.Receive(); !strings.HasSuffix(got, `"id":2}`) {
		t.Error(got)
	}

	for rest, want := range map[string]error{
		`"error":"I do not want it"`:     framework.ErrRefused,
		`"param":{"code":7}`:             framework.ErrAnswer,
		`"param":{"code":"much longer"}`: framework.ErrAnswer,
		`"param":{}`:                     framework.ErrAnswer,
		`"other":1`:                      framework.ErrAnswer,
	} {
		c.Send(`{"method":"shop.buy","price":7,"id":1}`)
		answer(c, asked(t, c, "orderConfirm", `{"price":7}`), rest)
		if err := <-s.asked; !errors.Is(err, want) {
			t.Errorf("%s: %v", rest, err)
		}
		if got := c.Receive(); !strings.Contains(got, "notBought") {
			t.Error(got)
		}
	}

	c.Send(`{"method":"shop.hurry","id":3}`)
	n = asked(t, c, "areYouThere", "")
	if err := <-s.asked; !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	answer(c, n, `"param":1`)
	if got := c.Receive(); !strings.HasSuffix(got, `"id":3}`) {
		t.Error(got)
	}
	c.Call("sys.answer", map[string]any{"ask": "x"}).Want(400, "paramError")

	// A bounded number is open, also without an action. The end of the connection ends them.
	c.Call("shop.many", nil).Want(200, "shopManySuccess")
	for range 4 {
		if err := <-s.asked; !errors.Is(err, framework.ErrTooManyQuestions) {
			t.Error(err)
		}
	}
	answer(c, int64(c.NextPush("areYouThere").Ask), `"param":null`)
	if err := <-s.asked; err != nil {
		t.Error(err)
	}
	c.Vanish()
	for range 15 {
		if err := <-s.asked; !errors.Is(err, framework.ErrClosed) {
			t.Error(err)
		}
	}
}

// An action that asks is not disturbed by a reload: the question may be sent before or after it,
// and the answer comes to the worker that waits.
func TestAskAcrossTransfer(t *testing.T) {
	onWorkers(t, func(t *testing.T, alone bool) {
		s := &shop{make(chan error, 32), make(chan struct{})}
		old, next := frameworktest.NewWorkers(t, alone, s.mount, frameworktest.Quiet())
		c := old.Dial(screen("1"))
		c.Send(`{"method":"shop.buy","price":7,"id":1}`)
		n := asked(t, c, "orderConfirm", `{"price":7}`)
		later := old.Dial(screen("2"))
		fd := fdOf(later, "hall")
		later.Send(`{"method":"shop.later","price":9,"id":3}`)
		old.Eventually("the action runs", func() bool { in, _ := old.App.Hub().Get(fd).Counts(); return in == 2 })
		rest := handOver(t, old.App, next.App)
		close(s.gate)
		n2 := asked(t, later, "orderConfirm", `{"price":9}`)
		later.Send(fmt.Sprintf(`{"method":"sys.answer","ask":%d,"param":{"code":"late"}}`, n2))
		if got := later.Receive(); !strings.Contains(got, `{"code":"late"},"id":3`) {
			t.Error(got)
		}
		c.Send(fmt.Sprintf(`{"method":"sys.answer","ask":%d,"param":{"code":"yes"}}`, n))
		if got := c.Receive(); got != `{"status":200,"event":"shopBuySuccess","info":"","param":{"code":"yes"},"id":1}` {
			t.Error(got)
		}
		rest()
		c.Send(`{"method":"shop.buy","price":8,"id":2}`)
		n = asked(t, c, "orderConfirm", `{"price":8}`)
		c.Send(fmt.Sprintf(`{"method":"sys.answer","ask":%d,"param":{"code":"new"}}`, n))
		if got := c.Receive(); !strings.Contains(got, `{"code":"new"},"id":2`) {
			t.Error(got)
		}
	})
}
