package static

import (
	"wsframe/framework"
	"wsframe/framework/auth"
	"wsframe/framework/console"
)

// Demo are links to the demo pages, printed at start while the module that a page needs is mounted.
var Demo = []console.Link{
	{Page: "wall.html", Needs: "live.wall", Identity: auth.Identity{ID: "wall-1", Type: framework.TypeWall, Code: "demo", Nickname: "大屏幕"}},
	{Page: "user.html", Needs: "live.user", Identity: auth.Identity{ID: "user-1", Type: framework.TypeWechatUser, Code: "demo", Nickname: "小明"}},
	{Page: "chat.html", Needs: "chat.room", Identity: auth.Identity{ID: "user-1", Type: framework.TypeWechatUser, Code: "demo", Nickname: "小明"}},
	{Page: "chat.html", Needs: "chat.room", Identity: auth.Identity{ID: "user-2", Type: framework.TypeWechatUser, Code: "demo", Nickname: "小红"}},
}
