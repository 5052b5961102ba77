// Command bench measures what a message, a delivery, an idle connection and a handshake cost the server, beside a bare gws
// server in the same run: server CPU from the operating system, medians of several rounds, ratios. P6 is the pause of a reload,
// beside its limit.
//
//	go build -o console ./public && go run ./internal/bench -console ./console
//
// Linux only. Each server is a process of its own; the clients run in this one.
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
	role := flag.String("role", "", "internal: gws or room")
	console := flag.String("console", "./console", "the binary to measure")
	rounds := flag.Int("rounds", 5, "rounds of each measurement")
	seconds := flag.Duration("time", 3*time.Second, "length of a round")
	only := flag.String("only", "", "P1, P2, P3, P4, P5, P6; empty = all")
	load := flag.Int("load", 10000, "requests a second during the reloads of P6; 0 = as many as the machine can")
	flag.Parse()
	switch *role {
	case "gws":
		gwsServer()
		return
	case "room":
		roomServer()
		return
	}
	b := &bench{console: *console, rounds: *rounds, length: *seconds, load: *load}
	for _, m := range []struct {
		name string
		run  func() error
	}{{"P1", b.requests}, {"P2", b.quietRoom}, {"P3", b.busyRoom}, {"P4", b.idle}, {"P5", b.handshakes}, {"P6", b.reloads}} {
		if *only != "" && !strings.Contains(*only, m.name) {
			continue
		}
		if err := m.run(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", m.name, err)
			os.Exit(1)
		}
	}
}

type bench struct {
	console string
	rounds  int
	length  time.Duration
	load    int
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// compare measures two servers in turn and prints the medians and the median of the ratios.
func (b *bench) compare(what, unit string, ours, theirs func() (float64, error)) error {
	var a, g, ratio []float64
	for range b.rounds {
		x, err := ours()
		if err != nil {
			return err
		}
		y, err := theirs()
		if err != nil {
			return err
		}
		a, g, ratio = append(a, x), append(g, y), append(ratio, x/y)
	}
	fmt.Printf("%-52s wsframe %8.2f %s   gws %8.2f %s   ratio %.2f (%.2f-%.2f)\n", what, median(a), unit, median(g), unit, median(ratio), slices.Min(ratio), slices.Max(ratio))
	return nil
}
