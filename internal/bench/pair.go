package main

// pair is a server of ours and a plain gws server, with the same clients.
type pair struct {
	ours, theirs *process
	stage        *stage // of ours, if it has the controller of testdata/stage
	a, g         *crowd
}

// released starts the released binary and gws.
func (b *bench) released(env ...string) (*pair, error) {
	ours, err := startConsole(b.console, false, b.cores, env...)
	if err != nil {
		return nil, err
	}
	return (&pair{ours: ours}).against(b.cores)
}

// staged starts the binary with the controller of testdata/stage, and gws.
func (b *bench) staged(env ...string) (*pair, error) {
	s, err := b.stage(1, env...)
	if err != nil {
		return nil, err
	}
	return (&pair{ours: s.nodes[0], stage: s}).against(b.cores)
}

func (p *pair) against(c cores) (*pair, error) {
	var err error
	if p.theirs, err = startRole("gws", c); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// gather connects n clients to each server. Those of ours first send a text.
func (p *pair) gather(n int, hello string) (err error) {
	if p.a, err = gather(n, hello, p.ours); err != nil {
		return err
	}
	p.g, err = gather(n, "", p.theirs)
	return err
}

// leave disconnects all clients.
func (p *pair) leave() {
	for _, c := range []*crowd{p.a, p.g} {
		if c != nil {
			c.leave()
		}
	}
	p.a, p.g = nil, nil
}

func (p *pair) stop() {
	p.leave()
	p.ours.stop()
	if p.theirs != nil {
		p.theirs.stop()
	}
}
