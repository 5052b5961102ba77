package main

import (
	"fmt"
	"time"
)

// crowdSize is the number of members in the room of N1 and N3.
const crowdSize = 10_000

// crowd returns how many members this machine's limit of open files allows; each process needs some
// descriptors for itself.
func (b *bench) crowd() (int, error) {
	const spare = 300
	got := descriptors(crowdSize + spare)
	n := min(crowdSize, (got-spare)/100*100)
	if n < 3 {
		return 0, fmt.Errorf("%d open files are not enough", got)
	}
	if n < crowdSize {
		fmt.Printf("only %d open files: the room has %d members\n", got, n)
	}
	return n, nil
}

// crowdedRoom measures N1: deliveries in a room of 10,000 members on one node, and on three.
func (b *bench) crowdedRoom() error {
	n, err := b.crowd()
	if err != nil {
		return err
	}
	for _, nodes := range []int{1, 3} {
		if err := b.crowdedNodes(nodes, n); err != nil {
			return fmt.Errorf("%d nodes: %w", nodes, err)
		}
	}
	return nil
}

func (b *bench) crowdedNodes(nodes, n int) error {
	s, err := b.stage(nodes)
	if err != nil {
		return err
	}
	defer s.stop()
	reference, err := startRole("gws", s.nodes[0].cores)
	if err != nil {
		return err
	}
	defer reference.stop()
	ours, err := gather(n, `{"method":"stage.join","room":"hall"}`, s.nodes...)
	if err != nil {
		return err
	}
	defer ours.leave()
	theirs, err := gather(n, "", reference)
	if err != nil {
		return err
	}
	defer theirs.leave()
	slow := max(int(b.length.Seconds()*10), 1)
	for _, c := range []struct {
		name          string
		count, theirs int // enough for some seconds of work; an outbox holds 1,024
		every         time.Duration
	}{
		{"10 publishes a second", slow, slow, 100 * time.Millisecond},
		{"500 publishes a second", 1000, 100, 2 * time.Millisecond},
		{"as fast as it goes", 1000, 100, 0},
	} {
		var cost, rate figure
		var t traffic
		deliveries, theirDeliveries := float64(c.count*n), float64(c.theirs*n)
		for range b.rounds {
			var took time.Duration
			before := s.cpu()
			err := s.counted(&t, c.count, func() (err error) {
				took, err = ours.run(c.count, fmt.Sprintf(`{"method":"stage.publish","room":"hall","count":%d,"every":%d,"push":%s}`, c.count, c.every.Microseconds(), param))
				return err
			})
			if err != nil {
				return err
			}
			used := s.cpu() - before
			before = reference.cpu()
			reached, err := theirs.run(c.theirs, fmt.Sprintf("PUBLISH %d 1 %d", c.theirs, c.every.Microseconds()))
			if err != nil {
				return err
			}
			cost.add(used/deliveries, (reference.cpu()-before)/theirDeliveries)
			rate.add(deliveries/took.Seconds()/1000, theirDeliveries/reached.Seconds()/1000)
		}
		what := fmt.Sprintf("N1 %d members on %s, %s", n, plural(nodes, "node"), c.name)
		cost.print(what, "wsframe", "gws", "µs CPU")
		rate.print("   deliveries", "wsframe", "gws", "k/s")
		t.print()
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// publishes measures N2: pushes of 200 bytes from one node to a room with a member on each of three
// nodes, so to one shard of the streams. The reference is plain XADDs of as many bytes, 256 in a
// pipeline, in the same Redis.
func (b *bench) publishes() error {
	const nodes, size = 3, 200
	s, err := b.stage(nodes, "WSFRAME_APP_LIMITS_OUTBOX_MESSAGES=100000", "WSFRAME_APP_LIMITS_OUTBOX_BYTES=67108864") // the test measures Redis, not a client's timeout
	if err != nil {
		return err
	}
	defer s.stop()
	all, err := gather(nodes, `{"method":"stage.join","room":"hall"}`, s.nodes...)
	if err != nil {
		return err
	}
	defer all.leave()
	for _, c := range []struct {
		name  string
		keep  int
		count int
		every time.Duration
	}{
		{"plain, as fast as it goes", 0, 50_000, 0},
		{"kept in history, as fast as it goes", 100, 50_000, 0},
		{"plain, 200 a second", 0, max(int(b.length.Seconds()*200), 1), 5 * time.Millisecond},
		{"kept in history, 200 a second", 100, max(int(b.length.Seconds()*200), 1), 5 * time.Millisecond},
	} {
		var rate figure
		var worker []float64
		var t traffic
		for range b.rounds {
			var took time.Duration
			before := s.cpu()
			err := s.counted(&t, c.count, func() (err error) {
				took, err = all.run(c.count, fmt.Sprintf(`{"method":"stage.publish","room":"hall","count":%d,"every":%d,"keep":%d,"size":%d}`, c.count, c.every.Microseconds(), c.keep, size))
				return err
			})
			if err != nil {
				return err
			}
			worker = append(worker, (s.cpu()-before)/float64(c.count))
			bare, err := s.bare(50_000, size)
			if err != nil {
				return err
			}
			rate.add(float64(c.count)/took.Seconds(), 50_000/bare.Seconds())
		}
		what := "N2 publishes, " + c.name
		if c.every == 0 {
			rate.print(what, "wsframe", "bare XADD", "/s")
		} else {
			fmt.Println(what)
		}
		t.print()
		fmt.Printf("    the workers of all nodes: %.1f µs CPU for each publish\n", median(worker))
	}
	return nil
}

// members measures N3: the list of a room of 10,000 members, in pages of 1,000 through the push
// port, on three nodes relative to one.
func (b *bench) members() error {
	const times = 5 // pushes in a round; the resolution of the CPU time is 10 ms
	n, err := b.crowd()
	if err != nil {
		return err
	}
	var stages [2]*stage
	for i, nodes := range []int{1, 3} {
		if stages[i], err = b.stage(nodes); err != nil {
			return err
		}
		defer stages[i].stop()
		all, err := gather(n, `{"method":"stage.join","room":"hall"}`, stages[i].nodes...)
		if err != nil {
			return err
		}
		defer all.leave()
	}
	var took, cost figure
	for range b.rounds {
		var ms, used [2]float64
		for i, s := range stages {
			before := s.cpu()
			begun := time.Now()
			for range times {
				got, err := s.list("hall")
				if err != nil {
					return err
				}
				if got != n {
					return fmt.Errorf("%s: %d members of %d are listed", plural(len(s.nodes), "node"), got, n)
				}
			}
			ms[i] = float64(time.Since(begun).Microseconds()) / 1000 / times
			used[i] = (s.cpu() - before) / 1000 / times
		}
		took.add(ms[1], ms[0])
		cost.add(used[1], used[0])
	}
	took.print(fmt.Sprintf("N3 list of %d members, pages of 1,000", n), "3 nodes", "1 node", "ms")
	cost.print("   the workers of all nodes", "3 nodes", "1 node", "ms CPU")
	return nil
}
