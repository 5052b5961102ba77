// Package app lists the controllers of the application. Each folder beside this file is a module;
// mount its controllers here.
package app

import (
	"wsframe/app/chat"
	"wsframe/app/index"
	"wsframe/app/live"
	"wsframe/framework"
)

// Controllers creates everything that clients can call. It runs once in each worker, before the
// worker accepts connections. At a reload, an error leaves the old worker serving. `reload -check`
// also runs it, so changes such as creating a table belong in OnWorkerStart.
func Controllers(d framework.Deps) ([]framework.Controller, error) {
	messages := live.NewMessages(d.DB)
	pending := live.NewPending(d.Redis, d.Prefix)
	views := chat.NewViews(d.Redis, d.Prefix, d.Log)
	return []framework.Controller{
		framework.Mount("chat.room", chat.NewRoom(views)),
		framework.Mount("chat.user", &chat.User{}),
		framework.Mount("index.index", &index.Index{}),
		framework.Mount("live.user", live.NewUser(messages, pending)),
		framework.Mount("live.wall", live.NewWall(messages, pending)),
	}, nil
}
