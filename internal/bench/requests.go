package main

import (
	"errors"
	"fmt"
	"time"
)

// unlimited lets one connection send as fast as it can.
var unlimited = []string{"WSFRAME_APP_LIMITS_MESSAGE_RATE=1000000", "WSFRAME_APP_LIMITS_MESSAGE_BURST=1000000"}

// each returns the server's CPU time for each of the requests of a load, in µs.
func (p *process) each(run func() (load, error)) (float64, error) {
	before := p.cpu()
	l, err := run()
	return (p.cpu() - before) / float64(l.count), err
}

// paced compares the cost of texts at a fixed rate.
func (b *bench) paced(p *pair, what string, rate int, d time.Duration, text string) error {
	run := func(c *crowd) func() (load, error) {
		return func() (load, error) { return c.pace(rate, d, text, 0, "") }
	}
	return b.compare(what, "µs CPU",
		func() (float64, error) { return p.ours.each(run(p.a)) }, func() (float64, error) { return p.theirs.each(run(p.g)) })
}

// requests measures P1: requests of the released binary, and echoes of the same text.
func (b *bench) requests() error {
	err := func() error {
		p, err := b.released()
		if err != nil {
			return err
		}
		defer p.stop()
		if err := p.gather(1000, ""); err != nil {
			return err
		}
		return b.paced(p, "P1 request and reply, 10,000/s, 1,000 connections", 10_000, b.length, question)
	}()
	if err != nil {
		return err
	}
	p, err := b.released(unlimited...)
	if err != nil {
		return err
	}
	defer p.stop()
	for _, n := range []int{100, 1000} {
		if err := p.gather(n, ""); err != nil {
			return err
		}
		run := func(c *crowd) func() (load, error) {
			return func() (load, error) { return c.flood(b.length, question) }
		}
		err := b.compare(fmt.Sprintf("P1 request and reply, saturated, %d connections", n), "µs CPU",
			func() (float64, error) { return p.ours.each(run(p.a)) }, func() (float64, error) { return p.theirs.each(run(p.g)) })
		if err != nil {
			return err
		}
		p.leave()
	}
	return nil
}

// heartbeats measures P7: the clients' heartbeat text, which gws echoes. There are few, so the rounds
// are longer.
func (b *bench) heartbeats() error {
	p, err := b.released()
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.gather(10_000, ""); err != nil {
		return err
	}
	return b.paced(p, "P7 heartbeats, 2,000/s, 10,000 connections", 2000, 3*b.length, "2")
}

// tail measures P9: the time until the reply, without and with 1 % of requests whose action sleeps
// for 50 ms. Those do not count themselves.
func (b *bench) tail() error {
	const rate, n, every = 10_000, 1000, 101 // each connection gets its share of slow requests
	p, err := b.staged()
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.gather(n, ""); err != nil {
		return err
	}
	for _, c := range []struct {
		name, text, other string
		crowd             *crowd
	}{
		{"wsframe", `{"method":"stage.echo"}`, `{"method":"stage.sleep","every":50000}`, p.a},
		{"gws", question, "SLEEP 50000", p.g},
	} {
		run := func(every int) func() (float64, error) {
			return func() (float64, error) {
				l, err := c.crowd.pace(rate, b.length, c.text, every, c.other)
				return l.p99 / 1000, err
			}
		}
		if err := b.versus("P9 p99, 10,000/s, 1 % of actions sleep 50 ms, "+c.name, "with", "without", "ms", run(every), run(0)); err != nil {
			return err
		}
	}
	return nil
}

// collections measures P8: the CPU time of a whole garbage collection with many connections.
func (b *bench) collections() error {
	const n, times = 9000, 10
	p, err := b.staged()
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.gather(n, `{"method":"stage.join","room":"hall"}`); err != nil {
		return err
	}
	collect := func(s *process, c *crowd, text string) (float64, error) {
		s.settle()
		before := s.cpu()
		_, err := c.say("first " + text)
		return (s.cpu() - before) / times / 1000, err
	}
	return b.compare("P8 full garbage collection, 9,000 connections", "ms CPU",
		func() (float64, error) {
			return collect(p.ours, p.a, fmt.Sprintf(`{"method":"stage.collect","count":%d}`, times))
		},
		func() (float64, error) { return collect(p.theirs, p.g, fmt.Sprintf("COLLECT %d", times)) })
}

// handshakes measures P5: the CPU time of the worker, and that of the master, too, whose embedded
// store does the bookkeeping.
func (b *bench) handshakes() error {
	const n = 10_000
	for _, c := range []struct {
		what   string
		master bool
	}{{"P5 handshake with token, the worker", false}, {"P5 handshake with token, worker and store", true}} {
		ours, err := startConsole(b.console, c.master, b.cores)
		if err != nil {
			return err
		}
		p, err := (&pair{ours: ours}).against(b.cores)
		if err != nil {
			return err
		}
		shake := func(s *process) (float64, error) {
			s.settle()
			before := s.cpu()
			clients, err := gather(n, "", s)
			if err != nil {
				return 0, err
			}
			time.Sleep(500 * time.Millisecond) // the bookkeeping is written later
			used := s.cpu() - before
			clients.leave()
			return used / n, nil
		}
		err = b.compare(c.what, "µs CPU",
			func() (float64, error) { return shake(p.ours) }, func() (float64, error) { return shake(p.theirs) })
		p.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// idle measures P4: the worker's memory for each connection in a room that has only answered pings
// for a while. Both servers use their defaults, and wait at the same time.
func (b *bench) idle() error {
	const n = 9000
	var f figure
	for range min(b.rounds, max(1, int(time.Minute/b.quiet))) {
		p, err := b.released()
		if err != nil {
			return err
		}
		err = func() error {
			if err := p.gather(200, ""); err != nil { // what the first connections need once
				return err
			}
			p.leave()
			p.ours.settle()
			before, bare := p.ours.pss(), p.theirs.pss()
			if err := p.gather(n, ""); err != nil {
				return err
			}
			if err := errors.Join(p.a.spread(`{"method":"live.user.join"}`), p.g.spread(question)); err != nil {
				return err
			}
			time.Sleep(b.quiet)
			for _, c := range []*crowd{p.a, p.g} {
				if _, err := c.say("here"); err != nil {
					return err
				}
			}
			f.add((p.ours.pss()-before)/n, (p.theirs.pss()-bare)/n)
			return nil
		}()
		p.stop()
		if err != nil {
			return err
		}
	}
	f.print(fmt.Sprintf("P4 idle connection in a room, %s after opening", b.quiet), "wsframe", "gws", "KiB PSS")
	return nil
}

// rest measures P10: what connections in a room cost a worker that sends no pings, calculated for
// 100,000 from as many as one process may open.
func (b *bench) rest() error {
	const n, all = 18_000, 100_000
	p, err := startConsole(b.console, false, b.cores, "WSFRAME_APP_HEARTBEAT_PING=1h", "WSFRAME_APP_HEARTBEAT_IDLE=2h")
	if err != nil {
		return err
	}
	defer p.stop()
	share := func() float64 { // of a core
		before, begun := p.cpu(), time.Now()
		time.Sleep(b.quiet)
		return (p.cpu() - before) / float64(time.Since(begun).Microseconds())
	}
	alone := share()
	clients, err := gather(n, "", p)
	if err != nil {
		return err
	}
	defer clients.leave()
	if err := clients.spread(`{"method":"live.user.join"}`); err != nil {
		return err
	}
	time.Sleep(min(b.quiet, time.Minute)) // the bookkeeping of new connections is compared in full once
	with := share()
	if _, err := clients.say("here"); err != nil {
		return err
	}
	fmt.Printf("P10 %d connections at rest: %.2f %% of a core, %.2f %% without any; calculated for %d: %.2f %%\n", n, with*100, alone*100, all, (with-alone)*100*all/n)
	return nil
}
