package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"wsframe/framework/api"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/directory"
)

// NodeSign is a node's last sign of life: what operators see of it, also when it no longer answers.
type NodeSign = api.NodeSign

// where tells people which server it is; two that were copied from each other differ in the machine's address.
func where(s *NodeSign) string {
	if s.Address == "" {
		return "an unknown address"
	}
	if s.Machine == "" || strings.HasPrefix(s.Address, s.Machine+":") {
		return s.Address
	}
	return s.Address + " of " + s.Machine
}

// nameTaken tells people that another server has this one's node id.
func (a *App) nameTaken(err error) error {
	var taken *cluster.TakenError
	if !errors.As(err, &taken) {
		return err
	}
	other := directory.ParseSign(taken.About)
	return fmt.Errorf("the living server at %s (worker pid %d) has the node id %q, and this one at %s would have it too; "+
		"one of them needs another host name or another runtime.dir: %w", where(&other), other.PID, taken.Node, where(&a.about), cluster.ErrTaken)
}

// saidBesideLease is what goes to Redis with the lease. During a reload the worker speaks that has the connections.
func (a *App) saidBesideLease() []byte {
	if !a.link.Phase().Owns() {
		return nil
	}
	b, err := json.Marshal(a.directory.Sign())
	if err != nil {
		a.log.Error("what this node says of itself", zap.Error(err))
	}
	return b
}

// Signs lists the nodes that live, or that are dead and not yet cleaned up after, by id. This one's is of now; the others' are as old as
// their Age, some seconds at most while they live. It asks Redis, and no other node: two round trips, none where the node is alone.
func (a *App) Signs(ctx context.Context) ([]NodeSign, error) { return a.directory.Signs(ctx) }

// Isolated tells whether this node has not reached Redis for the time of a lease: it is not ready for clients. It asks nobody.
func (a *App) Isolated() bool { return a.node.Isolated() }
