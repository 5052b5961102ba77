package framework_test

import (
	"fmt"
	"reflect"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

type keepIn struct {
	Room framework.Str `json:"room"`
	Say  string        `json:"say"`
	Bare []string      `json:"bare"` // decoded by encoding/json
}

// hoarder keeps everything that its actions got and returned.
type hoarder struct {
	ctx   []*framework.Ctx
	in    []*keepIn
	reply []*framework.Reply
}

func (k *hoarder) Keep(c *framework.Ctx, in *keepIn) (*framework.Reply, error) {
	c.SetValue(keepIn{}.Room, in.Say)
	r := framework.OK("kept", in.Say, in)
	k.ctx, k.in, k.reply = append(k.ctx, c), append(k.in, in), append(k.reply, r)
	return r, nil
}

// An action may keep its Ctx, its input and its reply: nothing of them is used again for later
// requests.
func TestKept(t *testing.T) {
	k := &hoarder{}
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("hoarder", k)}, nil
	})
	const kept, n = 4, 1000 // some are short, and two of them have a list
	frame := func(i int) string {
		list := ""
		if i%2 == 1 {
			list = fmt.Sprintf(`,"bare":["list %d"]`, i)
		}
		return fmt.Sprintf(`{"method":"hoarder.keep","room":%d,"say":"%0*d"%s}`, i, 10+i%4*20, i, list)
	}
	conns := make([]*frameworktest.Client, 5)
	for i := range conns {
		conns[i] = h.Dial(someone)
	}
	for i := range kept + n {
		c := conns[i%len(conns)]
		c.Send(frame(i))
		c.Receive()
	}
	for i := range kept {
		say := fmt.Sprintf("%0*d", 10+i%4*20, i)
		want := &keepIn{Room: framework.Str(fmt.Sprint(i)), Say: say}
		if i%2 == 1 {
			want.Bare = []string{fmt.Sprintf("list %d", i)}
		}
		if !reflect.DeepEqual(k.in[i], want) {
			t.Errorf("the input of request %d is now %+v", i, k.in[i])
		}
		if c := k.ctx[i]; string(c.Data()) != frame(i) || c.Method != "index.hoarder.keep" || c.Requested != "hoarder.keep" || c.Auth.ID != someone.ID || c.Auth != k.ctx[i+len(conns)].Auth || c.FD != k.ctx[i+len(conns)].FD || c.Value(keepIn{}.Room) != say {
			t.Errorf("the Ctx of request %d is now %+v with %s", i, c, c.Data())
		}
		if r := k.reply[i]; r.Status != 200 || r.Event != "kept" || r.Info != say || r.Param != any(k.in[i]) {
			t.Errorf("the reply of request %d is now %+v", i, r)
		}
	}
}
