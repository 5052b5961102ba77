package hub_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"

	"wsframe/framework/auth"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

// lobby joins every connection to one room and publishes each message there.
type lobby struct {
	hub  *hub.Hub
	left chan string
}

func (l *lobby) Message(c *hub.Conn, data []byte) {
	l.hub.Publish("lobby", wire.TextFrame(fmt.Appendf(nil, "%d says %s", c.FD, data)))
}

func (l *lobby) Closed(c *hub.Conn, code int, _ string, rooms []string) {
	l.left <- fmt.Sprint(c.FD, " has left ", rooms, " with ", code)
}

// accept serves a connection whose handshake the caller has allowed.
func (l *lobby) accept(tcp *net.TCPConn, fd int64) error {
	request, err := http.ReadRequest(bufio.NewReader(tcp))
	if err != nil {
		return err
	}
	c, err := l.hub.Accept(tcp, nil, fd, auth.Identity{ID: "7"}, tcp.RemoteAddr().String(), "")
	if err != nil {
		return err
	}
	// Serve writes the 101 and starts the reader.
	return c.Serve(request, func() { _, _ = c.Join("lobby") }, nil)
}

func Example() {
	l := &lobby{left: make(chan string, 1)}
	l.hub = hub.New(l, hub.Config{})
	defer l.hub.Close()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	tcp, err := ln.AcceptTCP()
	if err == nil {
		err = l.accept(tcp, 1)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	answers := bufio.NewReader(client)
	if _, err := http.ReadResponse(answers, nil); err != nil {
		fmt.Println(err)
		return
	}
	// Frames of clients are masked, here with zeroes.
	_, _ = client.Write(append([]byte{0x81, 0x80 | 5, 0, 0, 0, 0}, "hello"...))
	frame := make([]byte, 2+len("1 says hello"))
	for i := range frame {
		frame[i], _ = answers.ReadByte()
	}
	fmt.Println(string(frame[2:]))
	_ = client.Close()
	fmt.Println(<-l.left)
	_ = l.hub.Drain(context.Background(), wire.CloseGoingAway, "over", 0)
	// Output:
	// 1 says hello
	// 1 has left [lobby] with 1006
}
