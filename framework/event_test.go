package framework_test

import (
	"strings"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// Poll has actions of all shapes.
type Poll struct{}

// VoteIn is the data of poll.vote.
type VoteIn struct {
	Choice string `json:"choice" validate:"required,oneof=yes no"`
}

// Votes are the counted votes.
type Votes struct {
	Yes int `json:"yes"`
	No  int `json:"no"`
}

var (
	voted     = framework.Event[Votes]("voted", "有人投票")
	pollEnded = framework.Event[framework.None]("pollEnded")
	mayNot    = framework.NewFail(403, "mayNotVote", "不能投票")
)

func (*Poll) Vote(c *framework.Ctx, in *VoteIn) (*Votes, error) {
	v := Votes{Yes: 1}
	if in.Choice == "no" {
		return nil, mayNot
	}
	if err := c.Server().SendToFD(c.FD, voted.With(v)); err != nil {
		return nil, err
	}
	return &v, nil
}

func (*Poll) End(c *framework.Ctx) (*framework.None, error) {
	return nil, c.Server().SendToFD(c.FD, pollEnded.With(framework.None{}))
}

func (*Poll) List(*framework.Ctx) (*[]Votes, error)                 { return &[]Votes{}, nil }
func (*Poll) Nothing(*framework.Ctx, *VoteIn) (*Votes, error)       { return nil, nil }
func (*Poll) Index(*framework.Ctx) (*map[string]int, error)         { return &map[string]int{"a": 1}, nil }
func (*Poll) Old(*framework.Ctx, *VoteIn) (*framework.Reply, error) { return voted.With(Votes{}), nil }
func (*Poll) Guard(*framework.Ctx) error                            { return nil }

func TestTypedReplies(t *testing.T) {
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		poll := framework.Mount("Demo.Poll", &Poll{})
		return []framework.Controller{framework.Answers(poll, "list", framework.Event[[]Votes]("allVotes", "全部"))}, nil
	}, frameworktest.Quiet())
	c := h.Dial(framework.Identity{ID: "1", Type: framework.TypeWechatUser})
	c.Call("demo.poll.vote", map[string]any{"choice": "yes"}).Want(200, "pollVoteSuccess").WantParam(`{"yes":1,"no":0}`)
	c.WantPush("voted").WantInfo("有人投票").WantParam(`{"yes":1,"no":0}`)
	c.Call("demo.poll.vote", map[string]any{"choice": "no"}).Want(403, "mayNotVote")
	c.Call("demo.poll.vote", map[string]any{"choice": "perhaps"}).Want(400, "paramError")
	c.Call("demo.poll.end", nil).Want(200, "pollEndSuccess").WantParam("")
	c.WantPush("pollEnded").WantParam("")
	c.Call("demo.poll.list", nil).Want(200, "allVotes").WantInfo("全部").WantParam(`[]`)
	c.Call("demo.poll.nothing", map[string]any{"choice": "no"}).Want(500, "controllerError")
	c.Call("demo.poll.index", nil).Want(200, "pollSuccess").WantParam(`{"a":1}`)
	c.Call("demo.poll.old", map[string]any{"choice": "no"}).Want(200, "voted")
	c.WantNothing()
}

type noOut struct{}

func (noOut) Text(*framework.Ctx) (*string, error)      { return nil, nil }
func (noOut) Value(*framework.Ctx) (Votes, error)       { return Votes{}, nil }
func (noOut) Three(*framework.Ctx) (*Votes, int, error) { return nil, 0, nil }

// What is wrong with a mount is reported by name.
func TestWrongAnswers(t *testing.T) {
	poll := func() framework.Controller { return framework.Mount("poll", &Poll{}) }
	for want, c := range map[string]framework.Controller{
		`no action "gone" that returns an Out`:                framework.Answers(poll(), "gone", voted),
		`no action "old" that returns an Out`:                 framework.Answers(poll(), "old", voted),
		`the param of the event "pollEnded"`:                  framework.Answers(poll(), "vote", pollEnded),
		`noOut.Text is func(*framework.Ctx) (*string, error)`: framework.Mount("poll", &noOut{}),
		`noOut.Value is`: framework.Mount("poll", &noOut{}),
		`noOut.Three is`: framework.Mount("poll", &noOut{}),
	} {
		if _, err := framework.Routes([]framework.Controller{c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// The contract of an application has its actions, its events and its errors.
func TestContract(t *testing.T) {
	c, err := framework.Contract([]framework.Controller{framework.Mount("demo.poll", &Poll{})})
	if err != nil {
		t.Fatal(err)
	}
	text := c.TypeScript()
	for _, want := range []string{
		`"demo.poll.vote": { params: VoteIn; result: Votes; event: "pollVoteSuccess" };`,
		`"demo.poll.end": { params: Record<string, never>; result: undefined; event: "pollEndSuccess" };`,
		`"demo.poll.old": { params: VoteIn; result: unknown; event: string };`,
		`"voted": Votes;`, `"pollEnded": undefined;`, `"mayNotVote": { status: 403 };`, `"paramError"`, `choice: "yes" | "no";`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
}

// A typed event costs no more allocations than OK, and a reply with an Out costs as many.
func TestEventAllocations(t *testing.T) {
	var r *framework.Reply
	v := Votes{Yes: 7}
	untyped := testing.AllocsPerRun(100, func() { r = framework.OK("voted", "", v) })
	typed := testing.AllocsPerRun(100, func() { r = voted.With(v) })
	if typed > untyped || r.Event != "voted" {
		t.Errorf("%v allocations, OK has %v", typed, untyped)
	}
}
