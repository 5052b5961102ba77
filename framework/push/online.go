package push

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// EventOnline is the event of the push with the number of online users: its param is
// {"users","connections"}.
const EventOnline = "update_online_count"

// OnlineKey is the key in the Store under which the param of the last one stands.
const OnlineKey = "ONLINE"

// onlineCount pushes the number of users and connections to all clients when it has changed, at
// most once a second.
//
// Of all nodes, the one that claims the second pushes. So no leader is elected, and another node
// takes over a second after one has died. The cost is a call to Redis a second on each node, and
// one question to all nodes a second in all.
type onlineCount struct {
	backend Backend
	store   Store
	report  *reporter

	cancel context.CancelFunc // nil while it does not run
	ended  chan struct{}
}

// start begins to push. Calls of start and stop are serialized by the caller; a nil onlineCount
// does nothing.
func (o *onlineCount) start() {
	if o == nil || o.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	o.cancel, o.ended = cancel, ended
	go func() { defer close(ended); o.run(ctx) }()
}

// stop returns when nothing is pushed any more.
func (o *onlineCount) stop() {
	if o == nil || o.cancel == nil {
		return
	}
	o.cancel()
	<-o.ended
	o.cancel = nil
}

func (o *onlineCount) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		call, cancel := context.WithTimeout(ctx, callTime)
		if err := o.pushChange(call); err != nil && ctx.Err() == nil {
			o.report.note("online count", err)
		}
		cancel()
	}
}

// pushChange does the work of one second, where this node claims it.
func (o *onlineCount) pushChange(ctx context.Context) error {
	claim := []byte{1}
	if there, err := o.store.Claim(ctx, "ONLINE_TURN", claim, 900*time.Millisecond); err != nil || there != nil {
		return err
	}
	n, err := o.backend.Counts(ctx)
	if err != nil {
		return err
	}
	param, err := json.Marshal(map[string]int{"users": n.UIDs, "connections": n.Connections})
	if err != nil {
		return err
	}
	there, err := o.store.Claim(ctx, OnlineKey, param, time.Hour)
	if err != nil || string(there) == string(param) {
		return err
	}
	if there != nil {
		if err := o.store.Put(ctx, OnlineKey, param, time.Hour); err != nil {
			return err
		}
	}
	info := fmt.Sprintf("当前%d人在线，共打开%d个页面", n.UIDs, n.Connections)
	_, err = queued(o.backend.SendToAll(&Push{Event: EventOnline, Info: info, Param: param, Class: Latest, Key: EventOnline}))
	return err
}
