package framework_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"wsframe/framework"
	"wsframe/framework/auth"
	"wsframe/library/cache"
	"wsframe/library/config"
)

// Lobby is a controller. Its actions are called by many connections at once.
type Lobby struct{}

// LobbySay is the data of lobby.say.
type LobbySay struct {
	Text framework.Str `json:"text" validate:"required,max=500"`
}

var errBanned = framework.NewFail(403, "banned", "this word is banned")

// Join puts the connection into a room.
func (*Lobby) Join(c *framework.Ctx) (*framework.Reply, error) {
	if err := c.Join("LOBBY"); err != nil {
		return nil, err
	}
	return framework.OK("joinSuccess", "welcome"), nil
}

// Say sends a text to all members of the room.
func (*Lobby) Say(c *framework.Ctx, in *LobbySay) (*framework.Reply, error) {
	if in.Text == "spam" {
		return nil, errBanned.Because(errors.New("the log gets this"))
	}
	if err := c.Publish("LOBBY", framework.OK("said", "", in.Text)); err != nil {
		return nil, err
	}
	return framework.OK("saySuccess", ""), nil
}

// An application is its controllers. Package console starts a server with them; this example does
// so by itself, with a client that sends three requests.
func Example() {
	ctx := context.Background()
	app, tokens, closeStore := exampleApp(ctx, framework.Mount("lobby", &Lobby{}))
	defer closeStore()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	served := make(chan error)
	go func() { served <- app.Serve(ln) }()

	token, err := tokens.Issue(auth.Identity{ID: "7", Type: framework.TypeWechatUser, CTime: time.Now().Unix()})
	if err != nil {
		panic(err)
	}
	ws, _, err := websocket.Dial(ctx, "ws://"+ln.Addr().String()+"/?auth="+url.QueryEscape(token), nil)
	if err != nil {
		panic(err)
	}
	for _, request := range []string{`{"method":"lobby.join","id":1}`, `{"method":"lobby.say","text":"hi","id":2}`, `{"method":"lobby.say","text":"spam","id":3}`} {
		if err := ws.Write(ctx, websocket.MessageText, []byte(request)); err != nil {
			panic(err)
		}
	}
	for range 4 { // three replies and a push
		_, frame, err := ws.Read(ctx)
		fmt.Println(string(frame), err)
	}
	_ = ws.Close(websocket.StatusNormalClosure, "")
	fmt.Println(app.Shutdown(ctx, framework.CloseGoingAway, "the server stops", 0), <-served)
	// Output:
	// {"status":200,"event":"joinSuccess","info":"welcome","id":1} <nil>
	// {"status":200,"event":"said","info":"","param":"hi"} <nil>
	// {"status":200,"event":"saySuccess","info":"","id":2} <nil>
	// {"status":403,"event":"banned","info":"this word is banned","id":3} <nil>
	// <nil> <nil>
}

// exampleApp makes an App with an embedded store and the default configuration, as the command
// does.
func exampleApp(ctx context.Context, controllers ...framework.Controller) (app *framework.App, tokens *auth.Tokens, closeStore func()) {
	dir, err := os.MkdirTemp("", "example-")
	check(err)
	cfg, err := config.Load("", []string{"WSFRAME_APP_RUNTIME_DIR=" + dir})
	check(err)
	store, err := cache.StartEmbedded()
	check(err)
	client, err := cache.Open(ctx, cache.Options{Addrs: []string{store.Addr()}, Password: store.Password(), Timeout: time.Minute})
	check(err)
	tokens, err = auth.New(auth.Config{Keys: []string{"a key of at least 16 bytes"}})
	check(err)
	app, err = framework.New(ctx, framework.Options{
		Config: cfg.App, Controllers: controllers, Tokens: tokens, NodeID: "example", Alone: true, StoreTimeout: time.Minute,
		Deps: framework.Deps{Redis: client, Log: zap.NewNop(), Metrics: prometheus.NewRegistry()},
	})
	check(err)
	return app, tokens, func() {
		_ = client.Close()
		store.Close()
		_ = os.RemoveAll(dir)
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
