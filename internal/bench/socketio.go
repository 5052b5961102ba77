package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// pagesOf returns the clients of a server's port for socket.io pages. They connect by WebSocket, as pages
// do that have upgraded.
func pagesOf(p *process, port int) *process {
	pages := *p
	pages.addr = fmt.Sprint("127.0.0.1:", port)
	pages.path = func(int) (string, error) { return "/socket.io/?EIO=3&transport=websocket", nil }
	return &pages
}

// socketIO returns the environment of a server for such pages.
func socketIO(port int) []string {
	return []string{"WSFRAME_APP_SOCKETIO_ENABLED=true", "WSFRAME_APP_SOCKETIO_LOGIN=any", "WSFRAME_APP_SOCKETIO_PORT=" + strconv.Itoa(port), "WSFRAME_APP_DEMO=false"}
}

// heartbeatText is the client's heartbeat of both kinds: the server replies at once.
const heartbeatText = "2"

// idlePages measures S1: a page of socket.io, and a client of the server's own protocol.
func (b *bench) idlePages() error {
	const n = 9000
	var f figure
	for range min(b.rounds, max(1, int(time.Minute/b.quiet))) {
		used := func(native bool) (float64, error) {
			port, err := freePort()
			if err != nil {
				return 0, err
			}
			p, err := startConsole(b.console, false, b.cores, socketIO(port)...)
			if err != nil {
				return 0, err
			}
			defer p.stop()
			to := p
			if !native {
				to = pagesOf(p, port)
			}
			warm, err := gather(200, "", to) // what the first connections need once
			if err != nil {
				return 0, err
			}
			warm.leave()
			p.settle()
			before := p.pss()
			c, err := gather(n, "", to)
			if err != nil {
				return 0, err
			}
			defer c.leave()
			time.Sleep(time.Second) // the packets of the opening have come
			for end := time.Now().Add(b.quiet); time.Now().Before(end); time.Sleep(min(20*time.Second, max(0, time.Until(end)))) {
				if err := c.spread(heartbeatText); err != nil {
					return 0, err
				}
			}
			_, err = c.say("here")
			return (p.pss() - before) / n, err
		}
		page, err1 := used(false)
		client, err2 := used(true)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		f.add(page, client)
	}
	f.print(fmt.Sprintf("S1 idle page, %s after opening", b.quiet), "socket.io", "WebSocket", "KiB PSS")
	return nil
}

// pageDelivery measures S2: pushes of the push port to all pages, and to as many other clients.
func (b *bench) pageDelivery() error {
	port, err := freePort()
	if err != nil {
		return err
	}
	s, err := b.stage(1, append(socketIO(port), "WSFRAME_APP_PUSH_REQUEST_RATE=0")...)
	if err != nil {
		return err
	}
	defer s.stop()
	const members, rate = 1000, 50
	count := int(b.length.Seconds() * rate)
	deliver := func(p *process, nothing string) func() (float64, error) {
		return func() (float64, error) {
			c, err := gather(members, "", p)
			if err != nil {
				return 0, err
			}
			defer c.leave()
			time.Sleep(time.Second) // the packets of the opening have come
			return p.each(func() (load, error) {
				failed := make(chan error, 1)
				go func() {
					time.Sleep(200 * time.Millisecond) // the clients count from now on
					var err error
					publishing(count, 1, time.Second/rate, func() { err = errors.Join(err, pushToAll(s.nodes[0].push)) })
					failed <- err
				}()
				_, err := c.run(count, nothing)
				return load{count: count * members}, errors.Join(err, <-failed)
			})
		}
	}
	return b.versus("S2 delivery, 1,000 pages, 50 pushes a second", "socket.io", "WebSocket", "µs CPU",
		deliver(pagesOf(s.nodes[0], port), "6"), deliver(s.nodes[0], `{"method":"stage.publish","room":"hall","count":0}`))
}

// pushToAll pushes as web-msg-sender's back ends do.
func pushToAll(address string) error {
	resp, err := http.PostForm(address, url.Values{"type": {"publish"}, "content": {"this is what a message looks like, 这是一条消息"}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && string(b) != "ok" {
		err = fmt.Errorf("push: %q", b)
	}
	return err
}
