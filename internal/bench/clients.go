package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// crowd controls many clients in a separate process with its own limit of descriptors. The clients
// only count frames. The process receives commands as lines:
//
//	at ADDRESS PATH   one more client
//	open              connect them all                                       ok
//	ask TEXT          each sends it and waits for one frame                  ok
//	run COUNT TEXT    the first sends it, each waits for so many frames      ok MICROSECONDS
//
// A reply is as shown above, or "error" and a text. The process ends at the end of its input.
type crowd struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	n   int
}

// gather connects n clients evenly to servers. Each client first sends a text, if it is not empty.
func gather(n int, hello string, servers ...*process) (_ *crowd, err error) {
	cmd := exec.Command(os.Args[0], "-role", "clients")
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

func (c *crowd) leave() {
	_ = c.in.Close()
	_ = c.cmd.Wait()
}
