package frameworktest_test

import (
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// Desk has typed replies, events and a question.
type Desk struct{}

// Note is a text for all.
type Note struct {
	Text string `json:"text"`
}

var (
	noted  = framework.Event[Note]("noted")
	rang   = framework.Event[framework.None]("rang")
	really = framework.Question[Note, bool]("really")
)

func (*Desk) Join(c *framework.Ctx) (*framework.None, error) { return nil, c.Join("DESK") }

func (*Desk) Note(c *framework.Ctx, in *Note) (*Note, error) {
	if sure, err := really.Ask(c, c, *in); err != nil || !sure {
		return nil, framework.NewFail(409, "notNoted", "")
	}
	if err := c.Publish("DESK", rang.With(framework.None{})); err != nil {
		return nil, err
	}
	return in, c.Publish("DESK", noted.With(*in))
}

func TestTyped(t *testing.T) {
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("desk", &Desk{})}, nil
	}, frameworktest.Quiet())
	a, b, c := dial(h, "1"), dial(h, "2"), dial(h, "3")
	for _, c := range []*frameworktest.Client{a, b} {
		c.Call("desk.join", nil).Want(200, "deskJoinSuccess")
	}
	c.Send(`{"method":"desk.note","text":"x","id":"first"}`)
	q := frameworktest.WantQuestion(c, really)
	if q.Param.Text != "x" {
		t.Error(q.Param)
	}
	q.Refuse("no")
	if f := c.Receive(); f != `{"status":409,"event":"notNoted","info":"","id":"first"}` {
		t.Error(f)
	}
	c.Send(`{"method":"desk.note","text":"hi","id":"second"}`)
	frameworktest.WantQuestion(c, really).Answer(true)
	frameworktest.WantBroadcast(rang, a, b)
	if n := frameworktest.WantBroadcast(noted, a, b); n.Text != "hi" {
		t.Error(n)
	}
	c.Receive()
	c.Send(`{"method":"desk.note","text":"again"}`)
	frameworktest.WantQuestion(c, really).Answer(true)
	if n := frameworktest.Next(a, noted); n.Text != "again" {
		t.Error(n)
	}
	frameworktest.Want(b, rang)
	if n := frameworktest.Want(b, noted); n.Text != "again" {
		t.Error(n)
	}
}

func dial(h *frameworktest.Harness, id string) *frameworktest.Client {
	return h.Dial(framework.Identity{ID: id, Type: framework.TypeWechatUser})
}
