package boot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wsframe/framework"
)

const (
	nodesEvery = time.Second     // between two looks at the living nodes
	nodesTime  = 2 * time.Second // for Redis to list them
)

// alone refuses to start beside another node that announces the same address: PHP could not tell
// their clients apart.
func (g *phpGateway) alone(ctx context.Context, a *framework.App) error {
	ctx, cancel := context.WithTimeout(ctx, nodesTime)
	defer cancel()
	signs, err := a.Signs(ctx)
	if err != nil {
		return fmt.Errorf("list the other nodes: %w", err)
	}
	own := g.cfg.Address().String()
	for _, s := range signs {
		if s.Living && !s.Self && s.Gateway == own {
			return errors.New("gateway.lan_ip and gateway.start_port: node " + s.ID + " has the address " + own + " already")
		}
	}
	return nil
}

// listNodes has the Register list all living nodes, until ctx ends. While Redis does not answer,
// the list stays.
func (g *phpGateway) listNodes(ctx context.Context, a *framework.App) {
	tick := time.NewTicker(nodesEvery)
	defer tick.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, nodesTime)
		signs, err := a.Signs(asking)
		cancel()
		if err == nil && ctx.Err() == nil {
			g.register.SetAddresses(g.addresses(signs))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// addresses returns those of this node and of all others that live and have a gateway.
func (g *phpGateway) addresses(signs []framework.NodeSign) []string {
	list := []string{g.cfg.Address().String()}
	for _, s := range signs {
		if s.Living && !s.Self && s.Gateway != "" {
			list = append(list, s.Gateway)
		}
	}
	return list
}
