package console

import (
	"cmp"
	"io/fs"

	"wsframe/framework"
	"wsframe/framework/auth"
	"wsframe/framework/internal/boot"
)

// Program is what an application adds to the command.
type Program struct {
	// Version is shown by the commands version and status, at start, and in the metrics; "" is "dev".
	Version string
	// Controllers makes everything that clients can call. It runs once in each worker, before connections are accepted; an error keeps
	// the worker before it serving. The commands routes and reload -check run it too, so it changes nothing: that is for OnWorkerStart.
	Controllers func(framework.Deps) ([]framework.Controller, error)
	// Pages are served under /static/ on the outside port while demo is on in the configuration; nil = none.
	Pages fs.FS
	// Demo are the links that are printed at start while demo is on, each with a fresh token.
	Demo []Link
}

// Link is a page of Program.Pages, to be opened as somebody.
type Link struct {
	Page     string // its file: "chat.html"
	Identity auth.Identity
}

func (p Program) withDefaults() Program {
	p.Version = cmp.Or(p.Version, "dev")
	return p
}

func (p Program) boot() boot.Program {
	return boot.Program{Version: p.Version, Controllers: p.Controllers, Pages: p.Pages}
}
