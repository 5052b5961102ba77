package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// crowd controls many clients in a separate process with its own limit of descriptors. The clients
// only count frames and answer pings. The process receives commands as lines; a tab separates the
// parts of pace and flood:
//
//	at ADDRESS PATH   one more client
//	open              connect them all                                       ok
//	here              all are connected                                      ok
//	ask TEXT          each sends it and waits for one frame                  ok
//	first TEXT        the first sends it and waits for one frame             ok
//	run COUNT TEXT    the first sends it, each waits for so many frames      ok MICROSECONDS
//	pace RATE MS TEXT EVERY OTHER
//	                  they send RATE texts a second in turn, of which each
//	                  EVERY-th is OTHER; 0 = none                            ok COUNT P50 P99 MAX
//	flood MS TEXT     each sends it, and again when the reply has come       ok COUNT P50 P99 MAX
//
// P50, P99 and MAX are the microseconds from the moment when a text was due to its reply, without
// those of OTHER. A reply is as shown above, or "error" and a text. The process ends at the end of
// its input.
type crowd struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	n   int
}

// gather connects n clients evenly to servers. Each client first sends a text, if it is not empty.
func gather(n int, hello string, servers ...*process) (_ *crowd, err error) {
	cmd := onCores(servers[0].cores.clients, os.Args[0], "-role", "clients")
	cmd.Stderr = os.Stderr
	c := &crowd{cmd: cmd, n: n}
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := bufio.NewWriter(c.in)
	for i := range n {
		p := servers[i%len(servers)]
		path, err := p.path(i)
		if err != nil {
			c.leave()
			return nil, err
		}
		fmt.Fprintf(w, "at %s %s\n", p.addr, path)
	}
	if err = w.Flush(); err == nil {
		_, err = c.say("open")
	}
	if err == nil && hello != "" {
		_, err = c.say("ask " + hello)
	}
	if err != nil {
		c.leave()
		return nil, err
	}
	return c, nil
}

func (c *crowd) say(line string) (string, error) {
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		return "", err
	}
	answer, err := c.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the clients: %w", err)
	}
	answer = strings.TrimSpace(answer)
	if text, ok := strings.CutPrefix(answer, "error "); ok {
		return "", errors.New(text)
	}
	return strings.TrimSpace(strings.TrimPrefix(answer, "ok")), nil
}

// run makes the first client send a text, and returns the time until each client has received a
// number of frames.
func (c *crowd) run(frames int, text string) (time.Duration, error) {
	answer, err := c.say(fmt.Sprintf("run %d %s", frames, text))
	if err != nil {
		return 0, err
	}
	var us int64
	if _, err := fmt.Sscan(answer, &us); err != nil {
		return 0, err
	}
	return time.Duration(us) * time.Microsecond, nil
}

// load is what the clients saw of their requests.
type load struct {
	count         int
	p50, p99, max float64 // µs
}

// pace sends a number of requests a second for a while, evenly over the clients.
func (c *crowd) pace(rate int, d time.Duration, text string, every int, other string) (load, error) {
	return c.load(fmt.Sprintf("pace %d\t%d\t%s\t%d\t%s", rate, d.Milliseconds(), text, every, other))
}

// spread sends a text from each client, 2,000 a second. Connections that are quiet from the same moment
// on would later have the kernel send all its keep-alive probes at once, more than a loopback takes.
func (c *crowd) spread(text string) error {
	const rate = 2000
	_, err := c.pace(rate, time.Duration(c.n)*time.Second/rate, text, 0, "")
	return err
}

// flood keeps one request of each client on its way for a while.
func (c *crowd) flood(d time.Duration, text string) (load, error) {
	return c.load(fmt.Sprintf("flood %d\t%s", d.Milliseconds(), text))
}

func (c *crowd) load(line string) (l load, err error) {
	answer, err := c.say(line)
	if err == nil {
		_, err = fmt.Sscan(answer, &l.count, &l.p50, &l.p99, &l.max)
	}
	return l, err
}

func (c *crowd) leave() {
	_ = c.in.Close()
	_ = c.cmd.Wait()
}

const question = `{"method":"index.index.index"}`

// masked is a text as a client's frame.
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
