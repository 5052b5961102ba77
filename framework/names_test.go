package framework_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// A client of an application that lets clients name rooms does not reach the keys that other rooms' pushes need.
func TestRoomNamesAreNoKeys(t *testing.T) {
	h := frameworktest.New(t, mountHall, frameworktest.Quiet())
	evil, member := h.Dial(user("evil")), h.Dial(user("a"))
	for shard := range 4 {
		for _, key := range []string{"WEBSOCKET_OFFSET:{s%d}:tech", "WEBSOCKET_HISTORY:{s%d}:tech", "WEBSOCKET_BUS:{s%d}"} {
			evil.Call("hall.join", map[string]any{"room": fmt.Sprintf(key, shard)}).Want(500, "controllerError")
		}
	}
	h.Flush()
	fdOf(member, "tech")
	member.Call("hall.say", map[string]any{"room": "tech", "text": "hi", "keep": 5}).Want(200, "said")
	member.WantPush("say").WantParam(`"hi"`)
}

// Every call that takes a room or a close key refuses the reserved ones, on whatever node the connection is.
func TestReservedNames(t *testing.T) {
	if err := framework.Reserve("MODULE_QUEUE_"); err != nil {
		t.Fatal(err)
	}
	nodes := frameworktest.NewCluster(t, 2, mountHall, frameworktest.Quiet())
	c := nodes[1].Dial(user("a"))
	fd := fdOf(c, "hall")
	ctx := t.Context()
	for _, h := range nodes {
		s := h.App
		for _, name := range []string{"WEBSOCKET_FDINFO", "WSFRAME_LEAVING", "WSFRAME:{node-1}:LEASE", "MODULE_QUEUE_V"} {
			_, dismissed := s.DismissRoom(ctx, name)
			_, counted := s.RoomCount(ctx, name)
			_, listed := s.RoomMembers(ctx, name, 0, 10)
			_, read := s.History(ctx, name, 0, 10)
			for what, err := range map[string]error{
				"join": s.Join(ctx, fd, name), "leave": s.Leave(ctx, fd, name), "publish": s.Publish(name, framework.OK("e", "")),
				"kept": s.SendToRoom(name, framework.OK("e", ""), framework.Keep(1, 1e9)), "dismiss": dismissed, "count": counted, "members": listed, "history": read,
			} {
				if !errors.Is(err, framework.ErrReserved) || !strings.Contains(err.Error(), name) {
					t.Errorf("%s %s: %v", what, name, err)
				}
			}
		}
	}
	for _, method := range []string{"sys.recover", "sys.history"} {
		c.Call(method, map[string]any{"room": "WSFRAME_LEAVING"}).Want(400, "roomError").WantParam(`{"room":"WSFRAME_LEAVING"}`)
		c.Call(method, map[string]any{"room": "a b"}).Want(400, "roomError").WantParam("")
	}
	c.Call("sys.recover", map[string]any{"rooms": []map[string]any{{"room": "fine"}, {"room": "MODULE_QUEUE_V"}}}).Want(400, "roomError")
}

// Close keys are names as rooms are.
func TestReservedCloseKeys(t *testing.T) {
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("keeper", &keeper{})}, nil
	}, frameworktest.Quiet())
	c := h.Dial(user("a"))
	c.Call("keeper.add", map[string]any{"room": "WSFRAME_LEAVING"}).Want(200, "refused")
	c.Call("keeper.add", map[string]any{"room": "WSFRAM"}).Want(200, "added")
}

type keeper struct{}

func (keeper) Add(c *framework.Ctx, in *hallIn) (*framework.Reply, error) {
	switch err := c.AddCloseKey(in.Room); {
	case errors.Is(err, framework.ErrReserved):
		return framework.OK("refused", ""), nil
	case err != nil:
		return nil, err
	}
	return framework.OK("added", ""), nil
}

// A pattern that only reserved names fit is a mistake.
func TestReservedPatterns(t *testing.T) {
	for want, change := range map[string]func(*config.App){
		"history.rooms":  func(c *config.App) { c.History.Rooms = []string{"WEBSOCKET_*:10:1h"} },
		"presence.rooms": func(c *config.App) { c.Presence.Rooms = []string{"WSFRAME_?"} },
	} {
		o := framework.Options{}
		change(&o.Config)
		if _, err := framework.Examine(o); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "reserved") {
			t.Errorf("%s: %v", want, err)
		}
	}
}
