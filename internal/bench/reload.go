package main

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// reloads measures P6: the pause of a reload, relative to its limit. The clients send at a limited
// total rate, because clients that fill the machine would measure themselves. All processes use all
// cores, since two workers work at the same time.
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
	p, err := startConsole(b.console, false, cores{}, fmt.Sprintf("WSFRAME_APP_MANAGER_PORT=%d", port), "WSFRAME_APP_LIMITS_MESSAGE_RATE=0", "WSFRAME_APP_LIMITS_MAX_CONNECTIONS=0")
	if err != nil {
		return err
	}
	defer p.stop()
	all, err := gather(n, `{"method":"live.user.join"}`, p) // the rooms of a connection move with it
	if err != nil {
		return fmt.Errorf("%d connections: %w", n, err)
	}
	defer all.leave()
	var pauses, seen, rates []float64
	for range b.rounds {
		const around = 4 * time.Second // a reload in the middle of it
		type outcome struct {
			load
			err error
		}
		done := make(chan outcome, 1)
		go func() {
			var o outcome
			if b.load > 0 {
				o.load, o.err = all.pace(b.load, around, question, 0, "")
			} else {
				o.load, o.err = all.flood(around, question)
			}
			done <- o
		}()
		time.Sleep(around / 4)
		out, err := p.console("-s", "reload")
		traffic := <-done
		if err != nil {
			return fmt.Errorf("reload: %w", err)
		}
		if traffic.err != nil {
			return traffic.err
		}
		line := out[strings.LastIndexByte(strings.TrimSpace(out), '\n')+1:]
		var moved, drained, pause int
		if _, err := fmt.Sscanf(line, "%d connections moved, %d drained, pause %d ms", &moved, &drained, &pause); err != nil {
			return fmt.Errorf("reload said %q: %w", line, err)
		}
		if moved != n || drained != 0 {
			return fmt.Errorf("%d connections, but %s", n, strings.TrimSpace(line))
		}
		pauses = append(pauses, float64(pause))
		seen = append(seen, traffic.max/1000)
		rates = append(rates, float64(traffic.count)/around.Seconds())
	}
	limit := float64(pauseLimit(n).Milliseconds())
	fmt.Printf("P6 reload, %6d connections, %6.0f requests a second  pause %4.0f ms (%.0f-%.0f), %.1f µs a connection   limit %4.0f ms   ratio %.2f   longest answer %4.0f ms\n",
		n, median(rates), median(pauses), slices.Min(pauses), slices.Max(pauses), median(pauses)*1000/float64(n), limit, median(pauses)/limit, median(seen))
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

// console runs a command against the server.
func (p *process) console(args ...string) (string, error) {
	cmd := exec.Command(p.binary, append(args, "-c", "config")...)
	cmd.Env = p.cmd.Env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}
