// Command bench measures what a message, a delivery, an idle connection and a handshake cost the
// server, relative to a plain gws server in the same run. Results are ratios of server CPU time as
// the operating system reports it, as medians of several rounds. P6 is the pause of a reload,
// relative to its limit. N1 to N3 measure several nodes on one Redis: a room of 10,000, publishes,
// and the list of the room's members.
//
//	go build -o console ./public && go -C internal/bench run .
//
// It runs on Linux only. Each server is a separate process. The clients run in this process, those
// of N1 to N3 in others. P2 and P3 build a server with one room, and N1 to N3 a console with
// another controller, so run them inside the checkout. N1 to N3 need redis-server.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	role := flag.String("role", "", "internal: gws or clients")
	console := flag.String("console", "../../console", "the binary to measure")
	rounds := flag.Int("rounds", 5, "rounds of each measurement")
	seconds := flag.Duration("time", 3*time.Second, "length of a round")
	only := flag.String("only", "", "P1, P2, P3, P4, P5, P6, N1, N2, N3, or several of them; empty = all")
	quiet := flag.Duration("quiet", 5*time.Minute, "how long the connections of P4 are open when they are measured")
	load := flag.Int("load", 10000, "requests a second during the reloads of P6; 0 = as many as the machine can")
	flag.Parse()
	switch *role {
	case "gws":
		gwsServer()
		return
	case "clients":
		if err := clients(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench: clients:", err)
			os.Exit(1)
		}
		return
	}
	b := &bench{console: *console, rounds: *rounds, length: *seconds, quiet: *quiet, load: *load}
	for _, m := range []struct {
		name string
		run  func() error
	}{{"P1", b.requests}, {"P2", b.quietRoom}, {"P3", b.busyRoom}, {"P4", b.idle}, {"P5", b.handshakes}, {"P6", b.reloads},
		{"N1", b.crowdedRoom}, {"N2", b.publishes}, {"N3", b.members}} {
		if *only != "" && !strings.Contains(*only, m.name) {
			continue
		}
		if err := m.run(); err != nil {
			b.clean()
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", m.name, err)
			os.Exit(1)
		}
	}
	b.clean()
}

type bench struct {
	console string
	rounds  int
	length  time.Duration
	quiet   time.Duration
	load    int
	built   string // the console of N1 to N3
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// compare measures two servers in turn, and prints their medians and the median of the ratios.
func (b *bench) compare(what, unit string, ours, theirs func() (float64, error)) error {
	var f figure
	for range b.rounds {
		x, err := ours()
		if err != nil {
			return err
		}
		y, err := theirs()
		if err != nil {
			return err
		}
		f.add(x, y)
	}
	f.print(what, "wsframe", "gws", unit)
	return nil
}

// figure holds the measurements of two servers, round by round.
type figure struct{ first, second, ratio []float64 }

func (f *figure) add(x, y float64) {
	f.first, f.second, f.ratio = append(f.first, x), append(f.second, y), append(f.ratio, x/y)
}

func (f *figure) print(what, first, second, unit string) {
	fmt.Printf("%-52s %s %8.2f %s   %s %8.2f %s   ratio %.2f (%.2f-%.2f)\n", what, first, median(f.first), unit, second, median(f.second), unit, median(f.ratio), slices.Min(f.ratio), slices.Max(f.ratio))
}
