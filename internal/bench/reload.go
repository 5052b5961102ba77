package main

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// reloads measures P6: the pause of a reload, relative to its limit. Each client sends one request
// after the other, at a limited total rate, because clients that fill the machine would measure
// themselves.
func (b *bench) reloads() error {
	for _, n := range []int{500, 5000, 15000} {
		if err := b.reload(n); err != nil {
			return err
		}
	}
	return nil
}

// pauseLimit returns the limit of promise P6.
func pauseLimit(conns int) time.Duration {
	return time.Duration(conns)*50*time.Microsecond + 50*time.Millisecond
}

func (b *bench) reload(n int) error {
	port, err := freePort() // the commands need the manager's address
	if err != nil {
		return err
	}
	p, err := startConsole(b.console, false, fmt.Sprintf("WSFRAME_APP_MANAGER_PORT=%d", port), "WSFRAME_APP_LIMITS_MESSAGE_RATE=0", "WSFRAME_APP_LIMITS_MAX_CONNECTIONS=0")
	if err != nil {
		return err
	}
	defer p.stop()
	conns, err := dialAll(p, n)
	if err != nil {
		return fmt.Errorf("%d connections: %w", n, err)
	}
	defer closeAll(conns)
	if err := joinAll(conns); err != nil {
		return err
	}
	traffic := askAll(conns, b.load)
	var pauses, seen []float64
	for range b.rounds {
		time.Sleep(time.Second)
		traffic.longest.Store(0)
		out, err := p.console("-s", "reload")
		if err != nil {
			return fmt.Errorf("reload: %w", err)
		}
		line := out[strings.LastIndexByte(strings.TrimSpace(out), '\n')+1:]
		var moved, drained, pause int
		if _, err := fmt.Sscanf(line, "%d connections moved, %d drained, pause %d ms", &moved, &drained, &pause); err != nil {
			return fmt.Errorf("reload said %q: %w", line, err)
		}
		if moved != n || drained != 0 {
			return fmt.Errorf("%d connections, but %s", n, strings.TrimSpace(line))
		}
		time.Sleep(500 * time.Millisecond)
		pauses = append(pauses, float64(pause))
		seen = append(seen, float64(traffic.longest.Load())/1e6)
	}
	if err := traffic.stop(); err != nil {
		return err
	}
	limit := float64(pauseLimit(n).Milliseconds())
	fmt.Printf("P6 reload, %6d connections, %6.0f requests a second  pause %4.0f ms (%.0f-%.0f)   limit %4.0f ms   ratio %.2f   longest answer %4.0f ms\n",
		n, traffic.rate(), median(pauses), slices.Min(pauses), slices.Max(pauses), limit, median(pauses)/limit, median(seen))
	return nil
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// joinAll puts every connection into a room, because the rooms of a connection move with it.
func joinAll(conns []net.Conn) error {
	join, buf := masked(`{"method":"live.user.join"}`), make([]byte, 128)
	for _, c := range conns {
		if _, err := c.Write(join); err != nil {
			return err
		}
	}
	for _, c := range conns {
		if err := readText(c, buf); err != nil {
			return err
		}
	}
	return nil
}

// readText reads one short text frame. It ignores pings.
func readText(c net.Conn, buf []byte) error {
	for {
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return err
		}
		kind, size := buf[0], int(buf[1])
		if kind != 0x81 && kind != 0x89 || size > len(buf) {
			return fmt.Errorf("a frame that begins with %#x", kind)
		}
		if _, err := io.ReadFull(c, buf[:size]); err != nil || kind == 0x81 {
			return err
		}
	}
}

// asking holds clients that send requests and wait for the replies, each in its own order.
type asking struct {
	longest  atomic.Int64 // ns
	answered atomic.Int64
	begun    time.Time
	took     time.Duration
	ended    chan struct{}
	failed   atomic.Pointer[error]
	wg       sync.WaitGroup
}

func askAll(conns []net.Conn, perSecond int) *asking {
	t := &asking{begun: time.Now(), ended: make(chan struct{})}
	every := time.Duration(0)
	if perSecond > 0 {
		every = time.Duration(len(conns)) * time.Second / time.Duration(perSecond)
	}
	for i, c := range conns {
		t.wg.Go(func() {
			if err := t.ask(c, every, every*time.Duration(i)/time.Duration(len(conns))); err != nil {
				err = fmt.Errorf("connection %d: %w", i, err)
				t.failed.Store(&err)
			}
		})
	}
	return t
}

func (t *asking) ask(c net.Conn, every, first time.Duration) error {
	question, buf := masked(request), make([]byte, 128)
	next := time.Now().Add(first)
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-t.ended:
			return nil
		case <-timer.C:
		}
		asked := time.Now()
		if _, err := c.Write(question); err != nil {
			return err
		}
		if err := readText(c, buf); err != nil {
			return err
		}
		t.answered.Add(1)
		for took := int64(time.Since(asked)); ; {
			if longest := t.longest.Load(); took <= longest || t.longest.CompareAndSwap(longest, took) {
				break
			}
		}
		next = next.Add(every)
		if now := time.Now(); next.Before(now) {
			next = now
		}
		timer.Reset(time.Until(next))
	}
}

func (t *asking) stop() error {
	t.took = time.Since(t.begun)
	close(t.ended)
	t.wg.Wait()
	if err := t.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (t *asking) rate() float64 { return float64(t.answered.Load()) / t.took.Seconds() }

// console runs a command against the server.
func (p *process) console(args ...string) (string, error) {
	cmd := exec.Command(p.cmd.Path, append(args, "-c", "config")...)
	cmd.Env = p.cmd.Env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}
