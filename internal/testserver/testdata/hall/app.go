// Package app replaces the application in tests of many nodes: go build's -overlay puts this file
// in the place of app/app.go. All else of the binary under test is the same as in a release.
package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework"
)

// Controllers mounts the one controller, by which clients use the application API.
func Controllers(d framework.Deps) ([]framework.Controller, error) {
	closed, err := os.OpenFile(os.Getenv("HALL_CLOSED"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return []framework.Controller{framework.Mount("hall", &Hall{closed, d.Redis})}, nil
}

// Hall has an action for each call of the application API.
type Hall struct {
	closed *os.File
	redis  redis.UniversalClient
}

// OnClose records each end of a connection, with the process that it was called in.
func (h *Hall) OnClose(c *framework.Closed) {
	if _, err := fmt.Fprintf(h.closed, "%d %d %d\n", c.FD, os.Getpid(), c.Code); err != nil {
		c.Log().Error("close listener: " + err.Error())
	}
}

// Block makes goroutines wait in Redis, as consumers of queues do.
func (h *Hall) Block(c *framework.Ctx, in *In) (*framework.Reply, error) {
	for range in.Count {
		go h.redis.BLPop(context.Background(), 0, "hall-queue")
	}
	return done(nil)
}

// In is the data of all actions.
type In struct {
	FD     int64          `json:"to"`
	UID    string         `json:"uid"`
	Room   string         `json:"room"`
	Code   int            `json:"close"`
	Keep   int            `json:"keep"`
	After  int64          `json:"after"`
	Limit  int            `json:"limit"`
	Count  int            `json:"count"`
	From   int            `json:"from"`
	Number int            `json:"number"`
	Pause  int            `json:"pause"`
	Key    string         `json:"key"`
	Values map[string]any `json:"values"`
}

func done(err error, param ...any) (*framework.Reply, error) {
	if err != nil {
		return nil, framework.NewFail(599, "hallError", err.Error())
	}
	return framework.OK("done", "", param...), nil
}

// Join adds the sender's connection, or another one, to a room.
func (h *Hall) Join(c *framework.Ctx, in *In) (*framework.Reply, error) {
	if in.FD != 0 {
		return done(c.Server().Join(c, in.FD, in.Room))
	}
	if err := c.AddCloseListener("hall"); err != nil {
		return nil, err
	}
	if in.Room != "" {
		if err := c.Join(in.Room); err != nil {
			return nil, err
		}
	}
	return done(nil, c.FD)
}

// Leave removes the sender's connection, or another one, from a room.
func (h *Hall) Leave(c *framework.Ctx, in *In) (*framework.Reply, error) {
	if in.FD != 0 {
		return done(c.Server().Leave(c, in.FD, in.Room))
	}
	c.Leave(in.Room)
	return done(nil)
}

// Send sends {from, number} to a connection, a user, a room or all.
func (h *Hall) Send(c *framework.Ctx, in *In) (*framework.Reply, error) {
	push := framework.OK("n", "", []int{in.From, in.Number})
	var o []framework.PublishOption
	if in.Keep > 0 {
		o = append(o, framework.Keep(in.Keep, time.Hour))
	}
	switch {
	case in.FD != 0:
		return done(c.Server().SendToFD(in.FD, push))
	case in.UID != "":
		return done(c.Server().SendToUID(in.UID, push))
	case in.Room != "":
		return done(c.Publish(in.Room, push, o...))
	default:
		return done(c.Server().SendToAll(push))
	}
}

// Reach is Send to a user. It replies with the number of connections that have got it.
func (h *Hall) Reach(c *framework.Ctx, in *In) (*framework.Reply, error) {
	n, err := c.Server().Reach(c, in.UID, framework.OK("n", "", []int{in.From, in.Number}))
	return done(err, n)
}

// Session replies with a connection's values.
func (h *Hall) Session(c *framework.Ctx, in *In) (*framework.Reply, error) {
	values, err := c.Server().Session(c, in.FD)
	return done(err, values)
}

// Remember changes a connection's values.
func (h *Hall) Remember(c *framework.Ctx, in *In) (*framework.Reply, error) {
	if in.FD == 0 {
		return done(c.UpdateSession(in.Values))
	}
	return done(c.Server().UpdateSession(c, in.FD, in.Values))
}

// Bind binds a connection to a uid.
func (h *Hall) Bind(c *framework.Ctx, in *In) (*framework.Reply, error) {
	return done(c.Server().BindUID(c, in.FD, in.UID))
}

// Kick closes a connection, or those of a user.
func (h *Hall) Kick(c *framework.Ctx, in *In) (*framework.Reply, error) {
	if in.UID != "" {
		n, err := c.Server().KickUID(c, in.UID, in.Code, "kicked")
		return done(err, n)
	}
	return done(c.Server().Kick(c, in.FD, in.Code, "kicked"))
}

// Bye closes the sender's connection.
func (h *Hall) Bye(c *framework.Ctx) (*framework.Reply, error) { return done(c.Close(4321, "bye")) }

// Counts replies with totals over all nodes.
func (h *Hall) Counts(c *framework.Ctx, in *In) (*framework.Reply, error) {
	n, err := c.Server().Counts(c)
	return done(err, n)
}

// Members lists the members of a room.
func (h *Hall) Members(c *framework.Ctx, in *In) (*framework.Reply, error) {
	list, err := c.Server().RoomMembers(c, in.Room, in.After, in.Limit)
	fds := make([]int64, len(list))
	for i := range list {
		fds[i] = list[i].FD
	}
	return done(err, fds)
}

// Burst publishes count pushes to a room, as fast as they are accepted or with pauses in
// milliseconds. It replies with the time that it took, in microseconds.
func (h *Hall) Burst(c *framework.Ctx, in *In) (*framework.Reply, error) {
	begun := time.Now()
	for i := range in.Count {
		push := framework.OK("n", "", []int{in.From, in.Number + i})
		for {
			err := c.Publish(in.Room, push)
			if err == nil {
				break
			}
			if time.Since(begun) > time.Minute {
				return done(err)
			}
			time.Sleep(time.Millisecond) // too many pushes wait for Redis
		}
		time.Sleep(time.Duration(in.Pause) * time.Millisecond)
	}
	return done(nil, time.Since(begun).Microseconds())
}

// Walk lists all members of a room page by page. It replies with their number and the time, in
// microseconds.
func (h *Hall) Walk(c *framework.Ctx, in *In) (*framework.Reply, error) {
	begun, n := time.Now(), 0
	for after := int64(0); ; {
		list, err := c.Server().RoomMembers(context.WithoutCancel(c), in.Room, after, in.Limit)
		if err != nil {
			return done(err)
		}
		if n += len(list); len(list) < in.Limit {
			b, err := json.Marshal([]int64{int64(n), time.Since(begun).Microseconds()})
			return done(err, json.RawMessage(b))
		}
		after = list[len(list)-1].FD
	}
}

// Work waits, then changes the sender's connection, and publishes to the room.
func (h *Hall) Work(c *framework.Ctx, in *In) (*framework.Reply, error) {
	time.Sleep(time.Duration(in.Pause) * time.Millisecond)
	err := errors.Join(c.AddCloseListener("hall"), c.Join(in.Room), c.BindUID(in.UID), c.AddCloseKey(in.Key), c.UpdateSession(in.Values))
	if err != nil {
		return done(err)
	}
	return done(c.Publish(in.Room, framework.OK("n", "", []int{in.From, in.Number})))
}

// Self replies with the data of the sender's connection.
func (h *Hall) Self(c *framework.Ctx) (*framework.Reply, error) {
	return done(nil, map[string]any{"rooms": c.Rooms(), "uids": c.UIDs(), "session": c.Session(), "remote": c.Remote(), "fd": c.FD, "pid": os.Getpid()})
}

// Flood sends a connection count pushes of 32 KiB.
func (h *Hall) Flood(c *framework.Ctx, in *In) (*framework.Reply, error) {
	for i := range in.Count {
		if err := c.Server().SendToFD(in.FD, framework.OK("flood", "", []any{in.Number + i, strings.Repeat("x", 32<<10)})); err != nil {
			return done(err)
		}
	}
	return done(nil)
}
