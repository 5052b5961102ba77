package boot

import (
	"fmt"
	"net"

	"wsframe/framework"
	"wsframe/framework/process"
	"wsframe/library/config"
)

// socketIO returns the options for pages of socket.io; nil = they are not enabled.
func socketIO(cfg *config.App) *framework.SocketIO {
	s := &cfg.SocketIO
	if !s.Enabled {
		return nil
	}
	return &framework.SocketIO{Origins: s.Origins, AnyLogin: s.Login == config.LoginAny, OnlineCount: cfg.Push.OnlineCount}
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
