package console

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"wsframe/framework/manager"
	"wsframe/framework/process"
	"wsframe/library/config"
)

// askTime bounds every request to a running server but a reload and a stop.
const askTime = 15 * time.Second

// remote is the running server that a command speaks to, by its admin port.
type remote struct {
	settings *settings
	out      *output
	host     string // "" = from the configuration
	port     int    // 0 = from the configuration
}

// question is what a command does with the connection to a server.
type question func(context.Context, *manager.Client) error

// ask connects, asks within limit and disconnects.
func (r *remote) ask(ctx context.Context, limit time.Duration, q question) error {
	cfg, err := r.config()
	if err != nil {
		return err
	}
	return r.askBy(ctx, cfg, limit, q)
}

// askBy is ask by a given configuration.
func (r *remote) askBy(ctx context.Context, cfg *config.Config, limit time.Duration, q question) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client, err := r.dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	return q(ctx, client)
}

// config returns the configuration by which the server is reached. The server may have been started
// before the configuration became invalid: then the settings that can be read have to do.
func (r *remote) config() (*config.Config, error) {
	if err := r.settings.check(); err != nil {
		return nil, err
	}
	cfg, err := r.settings.load()
	if err != nil {
		fmt.Fprintf(r.out.err, "console: note: %v (the manager's address and token are taken from what can be read)\n", err)
		cfg = config.Salvage(r.settings.dir, r.settings.env)
	}
	return cfg, nil
}

// dial connects to the server that the flags name. Without flags it is the one that runs with the
// runtime directory, and otherwise the one that the configuration names.
func (r *remote) dial(ctx context.Context, cfg *config.Config) (*manager.Client, error) {
	m := &cfg.App.Manager
	addr := local(net.JoinHostPort(cmp.Or(r.host, m.Host), strconv.Itoa(cmp.Or(r.port, m.Port))))
	place, err := process.ReadLocation(cfg.App.Runtime.Dir)
	if r.host != "" || r.port != 0 || err != nil || local(place.Manager) == addr {
		client, err := manager.Dial(ctx, addr, m.Token)
		if err != nil && place.Manager == "" && r.host == "" && r.port == 0 {
			err = fmt.Errorf("%w; no server runs with the runtime directory %s", err, cfg.App.Runtime.Dir)
		}
		return client, err
	}
	client, first := manager.Dial(ctx, local(place.Manager), m.Token)
	if first == nil {
		return client, nil
	}
	// The location may be that of a server that was killed.
	if client, err = manager.Dial(ctx, addr, m.Token); err != nil {
		return nil, fmt.Errorf("%w (by %s); by the configuration: %w", first, cfg.App.Runtime.Dir, err)
	}
	return client, nil
}

// local returns the address by which a listener is reached from this machine.
func local(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}
