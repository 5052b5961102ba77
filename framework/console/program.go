package console

import (
	"cmp"
	"io/fs"

	"wsframe/framework"
	"wsframe/framework/auth"
	"wsframe/framework/internal/boot"
)

// Program is an application: its controllers, and what the command shows of it.
type Program struct {
	// Version is shown by the commands version and status, at start and in the metrics; "" = "dev".
	Version string
	// Controllers makes the controllers, whose actions clients call. It runs once in each worker,
	// before connections are accepted. After an error the previous worker goes on. The commands
	// routes and reload -check run it, too, so it must not change anything; the hook OnWorkerStart
	// may.
	Controllers func(framework.Deps) ([]framework.Controller, error)
	// Pages are served under /static/ on the outside port while demo is on in the configuration;
	// nil = none.
	Pages fs.FS
	// Demo has links that are printed at start while demo is on, each with a new token.
	Demo []Link
	// Sources are the framework's files (wsframe.Sources), which the command new copies. nil = this
	// program has none, and is some megabytes smaller.
	Sources fs.FS
}

// Link is a page of Program.Pages and the user who opens it.
type Link struct {
	Page     string // name of its file, such as chat.html
	Needs    string // the link is left out where no route begins with it, such as chat.room
	Identity auth.Identity
}

func (p Program) withDefaults() Program {
	p.Version = cmp.Or(p.Version, "dev")
	return p
}

func (p Program) boot() boot.Program {
	return boot.Program{Version: p.Version, Controllers: p.Controllers, Pages: p.Pages}
}
