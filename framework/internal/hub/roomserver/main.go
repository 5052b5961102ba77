// Command roomserver is one hub with one room, for internal/bench: all connections are in it, and
// what they send comes back.
//
// It prints its address. A connection that sends "PUBLISH count µs text" has text published to the
// room so many times, at that interval.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

type room struct{ hub *hub.Hub }

func (r *room) Message(c *hub.Conn, data []byte) {
	var count, interval int
	if n, _ := fmt.Fscanf(bytes.NewReader(data), "PUBLISH %d %d", &count, &interval); n == 2 {
		parts := bytes.SplitN(data, []byte(" "), 4)
		go r.publish(count, time.Duration(interval)*time.Microsecond, bytes.Clone(parts[len(parts)-1]))
		return
	}
	_ = c.Echo(data)
}

func (r *room) Closed(*hub.Conn, int, string, []string) {}

// publish is paced by the clock, so that a slow publish is made up for.
func (r *room) publish(count int, interval time.Duration, text []byte) {
	next := time.Now()
	for range count {
		r.hub.Publish("room", wire.TextFrame(text))
		if interval > 0 {
			next = next.Add(interval)
			time.Sleep(time.Until(next))
		}
	}
}

func (r *room) serve(nc *net.TCPConn, fd int64) error {
	req, err := http.ReadRequest(bufio.NewReader(nc))
	if err != nil {
		return err
	}
	c, err := r.hub.Accept(nc, nil, fd, auth.Identity{}, "", "")
	if err != nil {
		return err
	}
	return c.Serve(req, func() { _, _ = c.Join("room") }, nil)
}

func run() error {
	r := &room{}
	r.hub = hub.New(r, hub.Config{})
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	for fd := int64(1); ; fd++ {
		nc, err := ln.AcceptTCP()
		if err != nil {
			return err
		}
		go func() { _ = r.serve(nc, fd) }() // the socket is closed on an error
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "roomserver:", err)
		os.Exit(1)
	}
}
