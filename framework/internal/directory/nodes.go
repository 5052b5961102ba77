package directory

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"

	"wsframe/framework/api"
	"wsframe/framework/internal/ask"
)

// Nodes lists the living nodes, this one first. With ask.ErrPartial the list may lack some.
func (d *Directory) Nodes(ctx context.Context) ([]api.NodeInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Nodes.Timeout())
	defer cancel()
	others, unknown := d.cfg.Nodes.Peers(ctx)
	missing := map[string]bool{}
	for _, id := range others {
		missing[id] = true
	}
	var nodes []api.NodeInfo
	err := ask.All(ctx, d.cfg.Nodes, node, "", none{}, func(info api.NodeInfo) {
		info.Self = info.ID == d.cfg.Node
		delete(missing, info.ID)
		nodes = append(nodes, info)
	})
	if errors.Is(err, ask.ErrPartial) {
		err = unknown // the list has the nodes that did not answer, as missing
	}
	for id := range missing {
		nodes = append(nodes, api.NodeInfo{ID: id, Missing: true})
	}
	slices.SortStableFunc(nodes, func(x, y api.NodeInfo) int {
		if x.Self != y.Self {
			return map[bool]int{true: -1, false: 1}[x.Self]
		}
		return cmp.Compare(x.ID, y.ID)
	})
	return nodes, err
}

// Sign is the sign of this node, as of now.
func (d *Directory) Sign() api.NodeSign {
	s, h := d.cfg.About, d.cfg.Hub
	s.PID, s.Connections, s.UIDs, s.Rooms = os.Getpid(), h.Len(), h.UserCount(), h.RoomCount()
	return s
}

// Signs lists the living nodes, and dead ones that are not cleaned up yet, by id. The sign of
// this node is of now. The others are as old as their Age, some seconds while the node lives.
//
// Signs asks Redis and no other node: two round trips, and none where there are no other nodes.
func (d *Directory) Signs(ctx context.Context) ([]api.NodeSign, error) {
	own := d.Sign()
	own.ID, own.Self, own.Living = d.cfg.Node, true, true
	if d.cfg.Alone {
		return []api.NodeSign{own}, nil
	}
	signs, err := d.cfg.Cluster().Signs(ctx)
	if err != nil {
		return []api.NodeSign{own}, err
	}
	list := make([]api.NodeSign, 0, len(signs)+1)
	for _, s := range signs {
		if s.Node == d.cfg.Node {
			own.Living, own.Age = s.Living, s.Age
			list = append(list, own)
			continue
		}
		n := ParseSign(s.About)
		n.ID, n.Living, n.Age = s.Node, s.Living, s.Age
		list = append(list, n)
	}
	if !slices.ContainsFunc(list, func(n api.NodeSign) bool { return n.Self }) { // Redis was emptied
		own.Living, own.Age = false, -1
		list = append(list, own)
	}
	return list, nil
}

// ParseSign reads the sign that a node has left in Redis. It is empty where another version has
// written it in another form.
func ParseSign(about []byte) (s api.NodeSign) {
	if len(about) > 0 && json.Unmarshal(about, &s) != nil {
		return api.NodeSign{}
	}
	return s
}
