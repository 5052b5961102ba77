package process

import (
	"context"
	"io"
	"time"

	"go.uber.org/zap"
)

// Socket is a listener that workers inherit.
type Socket struct {
	Name string // outside
	Key  string // of the configuration, for errors
	Host string
	Port int
}

// MasterConfig of a Master.
type MasterConfig struct {
	Sockets    []Socket
	Manager    Socket
	Token      string // of the manager port
	RuntimeDir string
	Command    []string // of the worker
	Env        []string

	// OpenStore opens the embedded store; nil = workers use a Redis that they reach themselves. It
	// is called once this master holds the runtime directory, so that a second server does not
	// touch the first one's file.
	OpenStore func(ctx context.Context) (Store, error)
	StoreKind string // embedded or redis
	Version   string
	ReadyTime time.Duration // for a worker to boot; 30 s
	StopGrace time.Duration // for a worker to stop; 30 s
	DrainTime time.Duration // for the old worker of a reload to end; 30 s
	HangTime  time.Duration // of silence, after which a worker is killed; 0 = never
	Files     []string      // of the configuration at the start: no worker may lack one
	Detached  bool          // nobody reads what is printed once the server serves
	Log       *zap.Logger
	Reopen    func() // reopens the master's own logs
	Stdout    io.Writer
	Stderr    io.Writer
	Started   func(info Started) // called once the first worker serves
	Reloaded  func()             // called after each reload: the configuration may have changed

	// Notify is called with Serving when the first worker serves, and with Reloading and Serving
	// around reloads. It is called with Stopping as soon as the server is to end. Calls do not
	// overlap. It must not block.
	Notify func(State)
	Alive  func() // called every second while the serving worker responds, or another one starts
}

func (c *MasterConfig) fill() {
	for _, d := range []*time.Duration{&c.ReadyTime, &c.StopGrace, &c.DrainTime} {
		if *d == 0 {
			*d = 30 * time.Second
		}
	}
}

// Started describes a server that serves.
type Started struct {
	Routes []Route
	Addrs  map[string]string // of the sockets and the manager, by name
	Notes  []string          // for people
}
