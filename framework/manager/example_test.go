package manager_test

import (
	"context"
	"fmt"
	"net"

	"go.uber.org/zap"

	"wsframe/framework/manager"
)

// master is a server that tells how many connections it has. It lacks the other commands of a
// manager.Backend.
type master struct{ manager.Backend }

func (master) Status(context.Context) (manager.Status, error) {
	return manager.Status{Version: "1.2.3", Connections: 42}, nil
}

// A Server serves the commands of its Backend, and the console sends them by a Client.
func Example() {
	s := manager.NewServer(manager.Config{Backend: master{}, Token: "a secret", Log: zap.NewNop()})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(ln) }()

	ctx := context.Background()
	c, err := manager.Dial(ctx, ln.Addr().String(), "a secret")
	if err != nil {
		panic(err)
	}
	status, err := c.Status(ctx)
	fmt.Println(status.Version, status.Connections, err)
	c.Close()

	s.Close()
	fmt.Println(<-served)
	// Output:
	// 1.2.3 42 <nil>
	// <nil>
}
