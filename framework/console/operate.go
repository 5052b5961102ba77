package console

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wsframe/framework/manager"
	"wsframe/library/log"
)

// reloadTime bounds a reload. The server bounds each step of it by itself.
const reloadTime = 6 * time.Minute

// operator changes a running server.
type operator struct {
	remote *remote
	out    *output
}

// stop stops the server and waits until it has ended.
func (o *operator) stop(ctx context.Context, graceful bool) error {
	cfg, err := o.remote.config()
	if err != nil {
		return err
	}
	limit := cfg.App.Limits.StopGrace + 15*time.Second
	return o.remote.askBy(ctx, cfg, limit, func(ctx context.Context, m *manager.Client) error {
		if err := m.Stop(ctx, graceful); err != nil {
			return err
		}
		// The master closes its admin port last.
		select {
		case <-m.Ended():
		case <-ctx.Done():
			return fmt.Errorf("the server has not ended in %v", limit)
		}
		fmt.Fprintln(o.out.out, "stopped")
		return nil
	})
}

// reload replaces the worker, or with check only examines whether it could be replaced, and prints
// what has changed.
func (o *operator) reload(ctx context.Context, check bool) error {
	return o.remote.ask(ctx, reloadTime, func(ctx context.Context, m *manager.Client) error {
		r, err := m.Reload(ctx, check)
		if err != nil {
			return err
		}
		for _, note := range r.Notes {
			fmt.Fprintln(o.out.out, "note:", log.EscapeLine(note))
		}
		for _, route := range r.Added {
			fmt.Fprintln(o.out.out, "new route:", route)
		}
		for _, route := range r.Removed {
			fmt.Fprintln(o.out.out, "route gone:", route)
		}
		for _, route := range r.Changed {
			fmt.Fprintln(o.out.out, "route of another controller:", route)
		}
		for _, line := range r.Breaks {
			fmt.Fprintln(o.out.out, "breaks clients:", log.EscapeLine(line))
		}
		if check {
			fmt.Fprintln(o.out.out, "the new worker would serve; nothing was changed")
			return nil
		}
		fmt.Fprintf(o.out.out, "%d connections moved, %d drained, pause %d ms, worker %d → %d\n", r.Moved, r.Drained, r.Pause.Milliseconds(), r.OldPID, r.NewPID)
		return nil
	})
}

// say sends a text to all clients.
func (o *operator) say(ctx context.Context, text string) error {
	if text == "" {
		return errors.New("what to say? console -s say -i TEXT")
	}
	return o.remote.ask(ctx, askTime, func(ctx context.Context, m *manager.Client) error {
		n, err := m.Say(ctx, text)
		if err != nil {
			return err
		}
		fmt.Fprintf(o.out.out, "said to %d clients\n", n)
		return nil
	})
}
