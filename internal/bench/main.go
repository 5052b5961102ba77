// Command bench measures what requests, deliveries, idle connections, handshakes and collections cost
// the server, relative to a plain gws server in the same run. README.md lists the rows.
//
//	go build -o console ./public && go -C internal/bench run .
//
// It runs on Linux only, inside the checkout. Each server is a separate process, as are the clients.
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
	role := flag.String("role", "", "internal: gws, clients, worker or pinned")
	console := flag.String("console", "../../console", "the binary to measure")
	rounds := flag.Int("rounds", 5, "rounds of each measurement")
	seconds := flag.Duration("time", 3*time.Second, "length of a round")
	only := flag.String("only", "", "names of rows, such as P1,P7; empty = all")
	quiet := flag.Duration("quiet", 5*time.Minute, "how long the connections of P4 and P10 are open")
	load := flag.Int("load", 10000, "requests a second during the reloads of P6; 0 = as many as the machine can")
	foreign := flag.Float64("foreign", 0.15, "share of a core that other programs may use during a round; beyond, it is repeated")
	flag.Parse()
	var err error
	switch *role {
	case "gws":
		gwsServer()
		return
	case "clients":
		descriptors(0)
		err = clients(os.Stdin, os.Stdout)
	case "worker":
		err = workerRole(flag.Arg(0))
	case "pinned":
		err = pinned(flag.Args())
	default:
		b := &bench{console: *console, rounds: *rounds, length: *seconds, quiet: *quiet, load: *load, foreign: *foreign, cores: apart()}
		err = b.run(*only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, strings.TrimSpace("bench: "+*role), err)
		os.Exit(1)
	}
}

type bench struct {
	console string
	rounds  int
	length  time.Duration
	quiet   time.Duration
	load    int
	foreign float64
	cores   cores
	built   string // the console with the controller of testdata/stage
}

func (b *bench) run(only string) error {
	defer b.clean()
	descriptors(0)
	for _, m := range []struct {
		name string
		run  func() error
	}{
		{"P1", b.requests}, {"P2", b.quietRoom}, {"P3", b.busyRoom}, {"P4", b.idle}, {"P5", b.handshakes}, {"P6", b.reloads},
		{"P7", b.heartbeats}, {"P8", b.collections}, {"P9", b.tail}, {"P10", b.rest},
		{"N1", b.crowdedRoom}, {"N2", b.publishes}, {"N3", b.members},
		{"G1", b.workerEcho}, {"G2", b.workerGroup}, {"S1", b.idlePages}, {"S2", b.pageDelivery},
	} {
		if only != "" && !slices.Contains(strings.Split(only, ","), m.name) {
			continue
		}
		if err := m.run(); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// compare measures two servers in turn, and prints their medians and the median of the ratios.
// Rounds in which other programs used the machine are repeated, up to twice as many in all.
func (b *bench) compare(what, unit string, ours, theirs func() (float64, error)) error {
	return b.versus(what, "wsframe", "gws", unit, ours, theirs)
}

// versus is compare for other things than two servers.
func (b *bench) versus(what, first, second, unit string, ours, theirs func() (float64, error)) error {
	var f figure
	for tries := 0; len(f.ratio) < b.rounds; tries++ {
		machine := watch()
		x, err := ours()
		if err != nil {
			return err
		}
		y, err := theirs()
		if err != nil {
			return err
		}
		share := machine.foreign()
		if share > b.foreign && tries < 2*b.rounds {
			continue
		}
		f.foreign = max(f.foreign, share)
		f.add(x, y)
	}
	f.print(what, first, second, unit)
	return nil
}

// figure holds the measurements of two servers, round by round.
type figure struct {
	first, second, ratio []float64
	foreign              float64 // the largest share of a core that other programs used
}

func (f *figure) add(x, y float64) {
	f.first, f.second, f.ratio = append(f.first, x), append(f.second, y), append(f.ratio, x/y)
}

func (f *figure) print(what, first, second, unit string) {
	fmt.Printf("%-52s %s %8.2f %s   %s %8.2f %s   ratio %.2f (%.2f-%.2f)", what, first, median(f.first), unit, second, median(f.second), unit, median(f.ratio), slices.Min(f.ratio), slices.Max(f.ratio))
	if f.foreign > 0.05 {
		fmt.Printf("   others used %.0f %% of a core", f.foreign*100)
	}
	fmt.Println()
}
