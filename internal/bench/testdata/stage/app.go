// Package app replaces the application in measurements that need actions of their own: go build's
// -overlay puts this file in place of app/app.go. The rest of the binary is as released.
package app

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"time"

	"wsframe/framework"
)

// Controllers mounts the one controller.
func Controllers(framework.Deps) ([]framework.Controller, error) {
	return []framework.Controller{framework.Mount("stage", &Stage{})}, nil
}

// Stage joins rooms, publishes, sleeps and collects.
type Stage struct{}

// In is the input of all actions.
type In struct {
	Room  string          `json:"room"`
	Count int             `json:"count"` // number of pushes, or of collections
	Burst int             `json:"burst"` // pushes at once; 0 = 1
	Every int             `json:"every"` // µs between two bursts; 0 = as fast as they are accepted; or to sleep
	Keep  int             `json:"keep"`  // length of the history; 0 = not kept
	Size  int             `json:"size"`  // bytes of a push, if Param is empty
	Param json.RawMessage `json:"push"`
}

// Join puts the calling connection into a room.
func (s *Stage) Join(c *framework.Ctx, in *In) (*framework.Reply, error) {
	return framework.OK("done", ""), c.Join(in.Room)
}

// Echo does nothing.
func (s *Stage) Echo(*framework.Ctx) (*framework.Reply, error) {
	return framework.OK("success", "done"), nil
}

// Sleep waits before it replies.
func (s *Stage) Sleep(_ *framework.Ctx, in *In) (*framework.Reply, error) {
	time.Sleep(time.Duration(in.Every) * time.Microsecond)
	return framework.OK("slept", ""), nil
}

// Collect runs whole garbage collections.
func (s *Stage) Collect(_ *framework.Ctx, in *In) (*framework.Reply, error) {
	for range in.Count {
		runtime.GC()
	}
	return framework.OK("collected", ""), nil
}

// Publish publishes to a room, without a reply.
func (s *Stage) Publish(c *framework.Ctx, in *In) (*framework.Reply, error) {
	push := framework.OK("barrage", "", in.Param)
	if len(in.Param) == 0 {
		const around = `{"status":200,"event":"barrage","info":"","param":""}`
		push.Param = strings.Repeat("x", max(in.Size-len(around), 1))
	}
	var o []framework.PublishOption
	if in.Keep > 0 {
		o = append(o, framework.Keep(in.Keep, time.Hour))
	}
	sender, log := c.Server(), c.Log()
	go func() {
		next := time.Now()
		for i := range in.Count {
			err := sender.Publish(in.Room, push, o...)
			for ; errors.Is(err, framework.ErrBusy); err = sender.Publish(in.Room, push, o...) {
				time.Sleep(time.Millisecond) // too many messages wait for Redis
			}
			if err != nil {
				log.Error("publish: " + err.Error())
				return
			}
			if in.Every > 0 && (i+1)%max(in.Burst, 1) == 0 {
				next = next.Add(time.Duration(in.Every) * time.Microsecond)
				time.Sleep(time.Until(next))
			}
		}
	}()
	return nil, nil
}
