package framework

import (
	"errors"
	"fmt"
	"strings"

	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/directory"
)

// nameTaken explains to operators that another living server has this one's node id.
func nameTaken(err error, here NodeSign) error {
	var taken *cluster.TakenError
	if !errors.As(err, &taken) {
		return err
	}
	other := directory.ParseSign(taken.About)
	return fmt.Errorf("the living server at %s (worker pid %d) has the node id %q, and this one at %s would have it too; "+
		"one of them needs another host name or another runtime.dir: %w", place(&other), other.PID, taken.Node, place(&here), cluster.ErrTaken)
}

// place names a server. The machine's address distinguishes two servers with copied configurations.
func place(s *NodeSign) string {
	if s.Address == "" {
		return "an unknown address"
	}
	if s.Machine == "" || strings.HasPrefix(s.Address, s.Machine+":") {
		return s.Address
	}
	return s.Address + " of " + s.Machine
}
