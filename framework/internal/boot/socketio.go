package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"net"

	"wsframe/framework"
	"wsframe/framework/process"
	"wsframe/framework/push"
	"wsframe/library/config"
)

// socketIO returns the options for pages of socket.io; nil = they are not enabled.
func socketIO(cfg *config.Config, deps framework.Deps) *framework.SocketIO {
	s := &cfg.App.SocketIO
	if !s.Enabled {
		return nil
	}
	o := &framework.SocketIO{Origins: s.Origins, AnyLogin: s.Login == config.LoginAny}
	if cfg.App.Push.OnlineCount {
		o.Online = func() json.RawMessage {
			ctx, cancel := context.WithTimeout(context.Background(), cfg.Cache.Master.Timeout)
			defer cancel()
			param, _ := deps.Redis.Get(ctx, deps.Prefix+pushPrefix+push.OnlineKey).Bytes() // nil where it fails
			return param
		}
	}
	return o
}

// fixedSocketIO refuses a setting that the master's listeners contradict.
func fixedSocketIO(cfg *config.SocketIO, w *process.Worker) error {
	if listens := w.Listener("socketio") != nil; cfg.Enabled != listens {
		return fmt.Errorf("socketio.enabled is %v now, but the server was started with another value: that needs a restart", cfg.Enabled)
	}
	return nil
}

// servePages serves the port for pages; nil = there is none.
func servePages(a *framework.App, ln net.Listener) error {
	if ln == nil {
		return nil
	}
	return framework.ServeSocketIO(a, ln)
}
