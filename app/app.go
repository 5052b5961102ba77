// Package app is the application: the list of its controllers. A module is a folder beside this file; mount its
// controllers here.
package app

import (
	"wsframe/app/chat"
	"wsframe/app/index"
	"wsframe/app/live"
	"wsframe/framework"
)

// Controllers makes everything that clients can call. It runs once per worker, before connections are accepted; an
// error keeps the old worker serving. `reload -check` runs it too: what changes anything, like a table, belongs into OnWorkerStart.
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
