package boot

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework"
	"wsframe/framework/manager"
	"wsframe/framework/process"
	"wsframe/framework/push"
	"wsframe/library/log"
)

// worker is the application of one worker process. It implements process.Handler.
type worker struct {
	app  *framework.App
	push *push.Server
	php  *phpGateway // nil = it is not enabled
	log  *log.Logger

	accept     func() // begins accepting
	acceptOnce sync.Once
	handed     atomic.Bool // another worker has its connections
}

func (w *worker) Start() error { return w.app.Start() }

func (w *worker) Accept() { w.acceptOnce.Do(w.accept) }

func (w *worker) Stats() process.Stats {
	s := w.app.Stats()
	return process.Stats{
		Connections: s.Connections, Rooms: s.Rooms, MessagesIn: s.MessagesIn, MessagesOut: s.MessagesOut,
		BytesIn: s.BytesIn, BytesOut: s.BytesOut, Slow: s.Slow, Idle: s.Idle,
		Goroutines: runtime.NumGoroutine(), StorePending: s.StorePending, UIDs: s.UIDs, Dropped: s.Dropped, Gateway: w.php.status(),
	}
}

func (w *worker) Nodes(ctx context.Context) ([]manager.NodeInfo, error) {
	signs, err := w.app.Signs(ctx)
	list := make([]manager.NodeInfo, len(signs))
	for i, s := range signs {
		list[i] = manager.NodeInfo{
			ID: s.ID, Self: s.Self, State: manager.NodeDead, Host: s.Host, Address: s.Address, Version: s.Version, WorkerPID: s.PID,
			Connections: s.Connections, UIDs: s.UIDs, Rooms: s.Rooms, Since: s.Since, RefreshedSeconds: int64(max(s.Age, -time.Second) / time.Second),
		}
		if s.Living {
			list[i].State = manager.NodeAlive
		}
	}
	return list, err
}

func (w *worker) Say(text string) int { return w.app.Say(text) }

func (w *worker) Connections(offset, limit int) []manager.ConnInfo {
	stats := w.app.ConnectionStats(offset, limit)
	list := make([]manager.ConnInfo, len(stats))
	for i, c := range stats {
		list[i] = manager.ConnInfo{
			FD: c.FD, ID: c.Auth.ID, Type: c.Auth.Type, Code: c.Auth.Code, Remote: c.Remote, Since: c.Since.Unix(),
			IdleSeconds: int64(c.Idle.Seconds()), MessagesIn: c.MessagesIn, MessagesOut: c.MessagesOut, OutboxBytes: c.OutboxBytes, Rooms: c.Rooms,
		}
	}
	return list
}

func (w *worker) Reloading(ctx context.Context) error { return w.app.Reloading(ctx) }

func (w *worker) Stop(ctx context.Context, code int, reason string, spread time.Duration) (int, error) {
	err := w.push.Shutdown(ctx)
	w.app.StopAccepting()
	n := w.app.Owned()
	if w.handed.Load() && n == 0 {
		err = errors.Join(err, w.app.Close(ctx)) // no client waits for it
	} else {
		err = errors.Join(err, w.app.Shutdown(ctx, code, reason, spread))
	}
	w.log.Info("worker has stopped", zap.Int("code", code), zap.Int("connections", n), zap.Error(err))
	return n, err
}

func (w *worker) Settled() {
	w.Accept()
	ctx, cancel := context.WithTimeout(context.Background(), bootTime)
	defer cancel()
	if err := w.app.Settled(ctx); err != nil {
		w.log.Error("this node is out of touch with the others", zap.Error(err))
	}
}

func (w *worker) ReopenLogs() {
	if err := w.log.Reopen(); err != nil {
		w.log.Error("reopen the log", zap.Error(err))
	}
}

func (w *worker) servePush(ln net.Listener) error {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return errors.New("the master gave no push port")
	}
	return w.push.Serve(tcp)
}
