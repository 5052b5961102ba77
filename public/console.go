// Command console starts and operates this application's server; `console help` shows how.
package main

import (
	"wsframe"
	"wsframe/app"
	"wsframe/framework/console"
	"wsframe/public/static"
)

// version is the program's version, set by the linker: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	console.Main(console.Program{Version: version, Controllers: app.Controllers, Pages: static.FS, Demo: static.Demo, Sources: wsframe.Sources})
}
