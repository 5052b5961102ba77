package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const request = `{"method":"index.index.index"}`

func masked(text string) []byte {
	b := []byte{0x81}
	if len(text) < 126 {
		b = append(b, 0x80|byte(len(text)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(len(text)))
	}
	return append(append(b, 0, 0, 0, 0), text...) // a mask of zeros is valid
}

func handshake(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

func dial(p *process, path string) (net.Conn, error) {
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(nc, handshake(path)); err != nil {
		return nil, err
	}
	br := bufio.NewReaderSize(nc, 1024)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != 101 {
		return nil, fmt.Errorf("handshake: %s", resp.Status)
	}
	if br.Buffered() > 0 {
		return nil, errors.New("bytes behind the handshake")
	}
	return nc, nil
}

func dialAll(p *process, n int) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	var failed atomic.Value
	var wg sync.WaitGroup
	gate := make(chan struct{}, 64)
	for i := range conns {
		path, err := p.path(i)
		if err != nil {
			return nil, err
		}
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			c, err := dial(p, path)
			if err != nil {
				failed.Store(err)
			}
			conns[i] = c
		})
	}
	wg.Wait()
	if err, ok := failed.Load().(error); ok {
		return nil, err
	}
	return conns, nil
}

// dialBoth opens n connections to each server.
func dialBoth(ours, theirs *process, n int) (a, g []net.Conn, err error) {
	if a, err = dialAll(ours, n); err != nil {
		return nil, nil, err
	}
	if g, err = dialAll(theirs, n); err != nil {
		closeAll(a)
		return nil, nil, err
	}
	return a, g, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// echoing makes every connection send requests and wait for the replies. It returns the server's
// CPU time per message in µs.
func (b *bench) echoing(p *process, conns []net.Conn, ask []byte) (float64, error) {
	var count atomic.Int64
	var failed atomic.Value
	end := time.Now().Add(b.length)
	var wg sync.WaitGroup
	before := p.cpu()
	for _, c := range conns {
		wg.Go(func() {
			buf := make([]byte, 512)
			n := int64(0)
			for time.Now().Before(end) {
				if _, err := c.Write(ask); err != nil {
					failed.Store(err)
					return
				}
				if _, err := io.ReadFull(c, buf[:2]); err != nil {
					failed.Store(err)
					return
				}
				if _, err := io.ReadFull(c, buf[:buf[1]]); err != nil {
					failed.Store(err)
					return
				}
				n++
			}
			count.Add(n)
		})
	}
	wg.Wait()
	if err, ok := failed.Load().(error); ok {
		return 0, err
	}
	return (p.cpu() - before) / float64(count.Load()), nil
}

// requests measures P1. gws echoes as many bytes as our reply has.
func (b *bench) requests() error {
	const n = 1000
	ours, err := startConsole(b.console, false, "WSFRAME_APP_LIMITS_MESSAGE_RATE=1000000", "WSFRAME_APP_LIMITS_MESSAGE_BURST=1000000")
	if err != nil {
		return err
	}
	defer ours.stop()
	theirs, err := startRole("gws")
	if err != nil {
		return err
	}
	defer theirs.stop()
	a, g, err := dialBoth(ours, theirs, n)
	if err != nil {
		return err
	}
	defer closeAll(a)
	defer closeAll(g)
	reply := `{"status":200,"event":"success","info":"执行完成"}`
	for len(reply) > len(request) {
		reply = reply[:len(request)] // an echo sends the bytes of the request in both directions
	}
	return b.compare("P1 request and reply, 1,000 connections", "µs CPU",
		func() (float64, error) { return b.echoing(ours, a, masked(request)) },
		func() (float64, error) { return b.echoing(theirs, g, masked(reply)) })
}

// delivering makes the server publish, and waits until every connection has received everything. It
// returns the CPU time per delivery in µs.
func (b *bench) delivering(p *process, conns []net.Conn, count int, every time.Duration) (float64, error) {
	want := int64(count * (len(payload) + 4))
	var wg sync.WaitGroup
	var failed atomic.Value
	before := p.cpu()
	for i, c := range conns {
		wg.Go(func() {
			buf := make([]byte, 4096)
			for got := int64(0); got < want; {
				_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
				n, err := c.Read(buf)
				if err != nil {
					failed.Store(fmt.Errorf("connection %d has %d of %d bytes: %w", i, got, want, err))
					return
				}
				got += int64(n)
			}
		})
	}
	if _, err := conns[0].Write(masked(fmt.Sprintf("PUBLISH %d %d %s", count, every.Microseconds(), payload))); err != nil {
		return 0, err
	}
	wg.Wait()
	if err, ok := failed.Load().(error); ok {
		return 0, err
	}
	return (p.cpu() - before) / float64(count*len(conns)), nil
}

func (b *bench) room(what string, members, count int, every time.Duration) error {
	ours, err := startRoom()
	if err != nil {
		return err
	}
	defer ours.stop()
	theirs, err := startRole("gws")
	if err != nil {
		return err
	}
	defer theirs.stop()
	a, g, err := dialBoth(ours, theirs, members)
	if err != nil {
		return err
	}
	defer closeAll(a)
	defer closeAll(g)
	return b.compare(what, "µs CPU",
		func() (float64, error) { return b.delivering(ours, a, count, every) },
		func() (float64, error) { return b.delivering(theirs, g, count, every) })
}

// quietRoom measures P2.
func (b *bench) quietRoom() error {
	for _, members := range []int{5000, 9900} {
		what := fmt.Sprintf("P2 delivery, %d members, 10 publishes a second", members)
		if err := b.room(what, members, int(b.length.Seconds()*10), 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// busyRoom measures P3.
func (b *bench) busyRoom() error {
	if err := b.room("P3 delivery, 1,000 members, 500 publishes a second", 1000, int(b.length.Seconds()*500), 2*time.Millisecond); err != nil {
		return err
	}
	return b.room("P3 delivery, 5,000 members, as fast as it goes", 5000, 200, 0)
}

// idle measures P4: the worker's memory for each authenticated connection that has only answered
// pings for a while. Both servers use their defaults, and wait at the same time.
func (b *bench) idle() error {
	const n = 8000
	var f figure
	for range min(b.rounds, max(1, int(time.Minute/b.quiet))) {
		ours, before, err := quietCrowd(n, func() (*process, error) { return startConsole(b.console, false) })
		if err != nil {
			return err
		}
		theirs, bare, err := quietCrowd(n, func() (*process, error) { return startRole("gws") })
		if err != nil {
			ours.stop()
			return err
		}
		time.Sleep(b.quiet)
		f.add((ours.pss()-before)/n, (theirs.pss()-bare)/n)
		ours.stop()
		theirs.stop()
	}
	f.print(fmt.Sprintf("P4 idle connection, %s after opening", b.quiet), "wsframe", "gws", "KiB PSS")
	return nil
}

// quietCrowd starts a server and opens connections, which answer pings until it stops. before is
// the server's memory without connections.
func quietCrowd(n int, start func() (*process, error)) (p *process, before float64, err error) {
	if p, err = start(); err != nil {
		return nil, 0, err
	}
	warm, err := dialAll(p, 200)
	if err != nil {
		p.stop()
		return nil, 0, err
	}
	closeAll(warm)
	before = p.pss()
	conns, err := dialAll(p, n)
	if err != nil {
		p.stop()
		return nil, 0, err
	}
	for _, c := range conns {
		go answerPings(c)
	}
	return p, before, nil
}

// answerPings reads until the connection ends.
func answerPings(c net.Conn) {
	defer c.Close()
	pong := []byte{0x8A, 0x80, 0, 0, 0, 0}
	for buf := make([]byte, 256); ; {
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return
		}
		if _, err := io.ReadFull(c, buf[2:2+buf[1]&0x7f]); err != nil {
			return
		}
		if buf[0] == 0x89 {
			if _, err := c.Write(pong); err != nil {
				return
			}
		}
	}
}

// handshakes measures P5: the CPU time of master and worker, including the embedded store.
func (b *bench) handshakes() error {
	const n = 4000
	ours, err := startConsole(b.console, true)
	if err != nil {
		return err
	}
	defer ours.stop()
	theirs, err := startRole("gws")
	if err != nil {
		return err
	}
	defer theirs.stop()
	shake := func(p *process) (float64, error) {
		before := p.cpu()
		conns, err := dialAll(p, n)
		if err != nil {
			return 0, err
		}
		time.Sleep(500 * time.Millisecond) // the bookkeeping is written later
		used := p.cpu() - before
		closeAll(conns)
		time.Sleep(1500 * time.Millisecond)
		return used / n, nil
	}
	return b.compare("P5 handshake, token and bookkeeping", "µs CPU",
		func() (float64, error) { return shake(ours) }, func() (float64, error) { return shake(theirs) })
}
