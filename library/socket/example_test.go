package socket_test

import (
	"context"
	"fmt"
	"net"

	"wsframe/library/socket"
)

// A client that connects while the listener is paused waits until it resumes.
func ExamplePausable() {
	ln, err := socket.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	p := socket.NewPausable(ln)
	accepted := make(chan error)
	go func() {
		c, err := p.Accept()
		if err == nil {
			err = c.Close()
		}
		accepted <- err
	}()

	<-p.Pause() // no Accept is under way any more
	c, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		panic(err)
	}
	defer c.Close()
	fmt.Println("connected, from this machine:", socket.IsLoopback(c.RemoteAddr().String()))
	p.Resume()
	fmt.Println("accepted:", <-accepted)
	fmt.Println("closed:", p.Close())
	// Output:
	// connected, from this machine: true
	// accepted: <nil>
	// closed: <nil>
}
