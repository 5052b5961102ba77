// Command console starts and operates this application's server: console -s
// start|stop|restart|reload|status|…
package main

import (
	"wsframe/app"
	"wsframe/framework"
	"wsframe/framework/auth"
	"wsframe/framework/console"
	"wsframe/public/static"
)

// version is the program's version, set by the linker: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	console.Main(console.Program{Version: version, Controllers: app.Controllers, Pages: static.FS, Demo: demo})
}

var demo = []console.Link{
	{Page: "wall.html", Identity: auth.Identity{ID: "wall-1", Type: framework.TypeWall, Code: "demo", Nickname: "大屏幕"}},
	{Page: "user.html", Identity: auth.Identity{ID: "user-1", Type: framework.TypeWechatUser, Code: "demo", Nickname: "小明"}},
	{Page: "chat.html", Identity: auth.Identity{ID: "user-1", Type: framework.TypeWechatUser, Code: "demo", Nickname: "小明"}},
	{Page: "chat.html", Identity: auth.Identity{ID: "user-2", Type: framework.TypeWechatUser, Code: "demo", Nickname: "小红"}},
}
