package push

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// EventOnline tells all clients how many there are: param is {"users","connections"}.
const EventOnline = "update_online_count"

// watch is a running watchOnline.
type watch struct {
	stop context.CancelFunc
	done chan struct{}
}

// watch starts watchOnline. s.mu is held.
func (s *Server) watch() {
	if !s.cfg.OnlineCount || s.online != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{cancel, make(chan struct{})}
	s.online = w
	go func() { defer close(w.done); s.watchOnline(ctx) }()
}

// unwatch ends it. s.mu is held; watchOnline never takes it.
func (s *Server) unwatch() {
	if s.online != nil {
		s.online.stop()
		<-s.online.done
		s.online = nil
	}
}

// watchOnline tells all clients when the number of users or connections has changed, once a second at most: of all nodes the one that
// claims the second does so, so that nobody has to be elected, and another one takes over a second after a node died. That costs
// a call to Redis a second on each node, and one question to all nodes a second in all.
func (s *Server) watchOnline(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		call, cancel := context.WithTimeout(ctx, callTime)
		if err := s.tellOnline(call); err != nil && ctx.Err() == nil {
			s.note("online count", err)
		}
		cancel()
	}
}

func (s *Server) tellOnline(ctx context.Context) error {
	mine := []byte{1}
	if there, err := s.cfg.Store.Claim(ctx, "ONLINE_TURN", mine, 900*time.Millisecond); err != nil || there != nil {
		return err
	}
	n, err := s.cfg.Backend.Counts(ctx)
	if err != nil {
		return err
	}
	param, err := json.Marshal(map[string]int{"users": n.UIDs, "connections": n.Connections})
	if err != nil {
		return err
	}
	there, err := s.cfg.Store.Claim(ctx, "ONLINE", param, time.Hour)
	if err != nil || string(there) == string(param) {
		return err
	}
	if there != nil {
		if err := s.cfg.Store.Put(ctx, "ONLINE", param, time.Hour); err != nil {
			return err
		}
	}
	_, err = taken(s.cfg.Backend.SendToAll(&Push{Event: EventOnline, Info: fmt.Sprintf("当前%d人在线，共打开%d个页面", n.UIDs, n.Connections), Param: param, Class: Latest, Key: EventOnline}))
	return err
}
