package frameworktest_test

import (
	"fmt"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// Lobby is one room for all.
type Lobby struct{}

// SayIn is the data of lobby.say.
type SayIn struct {
	Text framework.Str `json:"text" validate:"required"`
}

// Join puts the connection into the room.
func (*Lobby) Join(c *framework.Ctx) (*framework.Reply, error) {
	if err := c.Join("LOBBY"); err != nil {
		return nil, err
	}
	return framework.OK("joined", ""), nil
}

// Say sends a text to all members of the room.
func (*Lobby) Say(c *framework.Ctx, in *SayIn) (*framework.Reply, error) {
	if err := c.Publish("LOBBY", framework.OK("said", "", in.Text)); err != nil {
		return nil, err
	}
	return framework.OK("saySuccess", ""), nil
}

func controllers(framework.Deps) ([]framework.Controller, error) {
	return []framework.Controller{framework.Mount("lobby", &Lobby{})}, nil
}

// The body of a test: a server with the application's controllers, and two clients of it. In a
// test, t is its *testing.T.
func Example() {
	t := &exampleT{}
	defer t.end()

	h := frameworktest.New(t, controllers)
	a := h.Dial(framework.Identity{ID: "1", Type: framework.TypeWechatUser})
	b := h.Dial(framework.Identity{ID: "2", Type: framework.TypeWechatUser})
	a.Call("lobby.join", nil).Want(200, "joined")
	b.Call("lobby.say", map[string]any{"text": "hi"}).Want(200, "saySuccess")
	a.WantPush("said").WantParam(`"hi"`)
	b.WantNothing() // it has not joined

	fmt.Println(a.Call("lobby.say", map[string]any{"text": "bye"}).Event)
	// Output: saySuccess
}
