package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"wsframe/framework/manager"
	"wsframe/framework/process"
	"wsframe/library/config"
	"wsframe/library/log"
)

// askTime bounds every question to the server but a reload and a stop.
const askTime = 15 * time.Second

// reloadTime bounds a reload; the server has limits of its own for each of its steps.
const reloadTime = 6 * time.Minute

// operated is the configuration by which a running server is reached. That server may have been started before what stands there now
// was broken: then what can be read of it has to do.
func (c *console) operated() (*config.Config, error) {
	if err := c.checkDir(); err != nil {
		return nil, err
	}
	cfg, err := c.load()
	if err != nil {
		fmt.Fprintf(c.err, "console: note: %v (the manager's address and token are taken from what can be read)\n", err)
		cfg = config.Salvage(c.configDir, c.env)
	}
	return cfg, nil
}

// dialWith reaches the manager of a server: the one that the flags name, else the one that runs with the runtime directory, else the
// one that the config names.
func (c *console) dialWith(ctx context.Context, cfg *config.Config) (*manager.Client, error) {
	m := &cfg.App.Manager
	addr := local(net.JoinHostPort(cmp.Or(c.host, m.Host), strconv.Itoa(cmp.Or(c.port, m.Port))))
	place, err := process.ReadLocation(cfg.App.Runtime.Dir)
	if c.host != "" || c.port != 0 || err != nil || local(place.Manager) == addr {
		client, err := manager.Dial(ctx, addr, m.Token)
		if err != nil && place.Manager == "" && c.host == "" && c.port == 0 {
			err = fmt.Errorf("%w; no server runs with the runtime directory %s", err, cfg.App.Runtime.Dir)
		}
		return client, err
	}
	client, first := manager.Dial(ctx, local(place.Manager), m.Token)
	if first == nil {
		return client, nil
	}
	if client, err = manager.Dial(ctx, addr, m.Token); err != nil { // the place may be that of a server which was killed
		return nil, fmt.Errorf("%w (by %s); by the configuration: %w", first, cfg.App.Runtime.Dir, err)
	}
	return client, nil
}

// local makes an address that can be dialled of one that is listened on.
func local(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// ask dials, asks one question, and says goodbye.
func (c *console) ask(ctx context.Context, limit time.Duration, question func(context.Context, *manager.Client) error) error {
	cfg, err := c.operated()
	if err != nil {
		return err
	}
	return c.askWith(ctx, cfg, limit, question)
}

func (c *console) askWith(ctx context.Context, cfg *config.Config, limit time.Duration, question func(context.Context, *manager.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client, err := c.dialWith(ctx, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	return question(ctx, client)
}

// stop ends the server and waits until it is gone.
func (c *console) stop(ctx context.Context) error {
	cfg, err := c.operated()
	if err != nil {
		return err
	}
	limit := cfg.App.Limits.StopGrace + 15*time.Second
	return c.askWith(ctx, cfg, limit, func(ctx context.Context, m *manager.Client) error {
		if err := m.Stop(ctx, c.graceful); err != nil {
			return err
		}
		// The master closes its admin port last.
		select {
		case <-m.Ended():
		case <-ctx.Done():
			return fmt.Errorf("the server has not ended in %v", limit)
		}
		fmt.Fprintln(c.out, "stopped")
		return nil
	})
}

func (c *console) restart(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	c.graceful, c.daemon = true, true
	running, err := c.runs(cfg)
	if err != nil {
		return err
	}
	if !running {
		fmt.Fprintln(c.out, "no server runs with the runtime directory "+cfg.App.Runtime.Dir+": it is started")
		return c.start(ctx)
	}
	if err := c.stop(ctx); err != nil {
		return err
	}
	// Its admin port is closed; the process itself ends within moments, and its pid file with it.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := process.ReadPID(cfg.App.Runtime.Dir); errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	return c.start(ctx)
}

// runs tells whether a server runs with the runtime directory. The configuration must have the files that it was started with.
func (c *console) runs(cfg *config.Config) (bool, error) {
	if !process.Running(cfg.App.Runtime.Dir) {
		return false, nil
	}
	place, err := process.ReadLocation(cfg.App.Runtime.Dir)
	if err != nil {
		return true, nil // one that is only starting
	}
	return true, cfg.Keeps(c.configDir, place.Files)
}

// reload waits for the end and tells what happened.
func (c *console) reload(ctx context.Context) error {
	return c.ask(ctx, reloadTime, func(ctx context.Context, m *manager.Client) error {
		r, err := m.Reload(ctx, c.check)
		if err != nil {
			return err
		}
		for _, note := range r.Notes {
			fmt.Fprintln(c.out, "note:", log.EscapeLine(note))
		}
		for _, route := range r.Added {
			fmt.Fprintln(c.out, "new route:", route)
		}
		for _, route := range r.Removed {
			fmt.Fprintln(c.out, "route gone:", route)
		}
		for _, route := range r.Changed {
			fmt.Fprintln(c.out, "route of another controller:", route)
		}
		if c.check {
			fmt.Fprintln(c.out, "the new worker would serve; nothing was changed")
			return nil
		}
		fmt.Fprintf(c.out, "%d connections moved, %d drained, pause %d ms, worker %d → %d\n", r.Moved, r.Drained, r.Pause.Milliseconds(), r.OldPID, r.NewPID)
		return nil
	})
}

func (c *console) say(ctx context.Context) error {
	if c.text == "" {
		return errors.New("what to say? console -s say -i TEXT")
	}
	return c.ask(ctx, askTime, func(ctx context.Context, m *manager.Client) error {
		n, err := m.Say(ctx, c.text)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "said to %d clients\n", n)
		return nil
	})
}
