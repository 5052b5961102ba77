package live_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"wsframe/app"
	"wsframe/app/live"
	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("database/sql.(*DB).connectionOpener"))
}

func user(code string) framework.Identity {
	return framework.Identity{ID: "u1", Type: framework.TypeWechatUser, Code: code, Nickname: "小明"}
}

func wall(code string) framework.Identity {
	return framework.Identity{ID: "w1", Type: framework.TypeWall, Code: code, Nickname: "大屏"}
}

type data = map[string]any

// Each action behaves as contract §6 says.
func TestLiveRoom(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	u, w, other := h.Dial(user("A")), h.Dial(wall("A")), h.Dial(user("B"))
	u.Call("live.user.join", nil).Want(200, "userJoinSuccess").WantInfo("加入房间成功")
	w.Call("Live.Wall.Join", nil).Want(200, "wallJoinSuccess").WantInfo("加入房间成功")
	other.Call("live.user.join", nil).Want(200, "userJoinSuccess")

	// A user's message waits for the wall.
	var queued string // the id, which is the whole param
	u.Call("live.user.say", data{"say": "<b>hi</b>"}).Want(200, "userSaySuccess").WantInfo("发布聊天内容成功，等待审核").Into(&queued)
	var need struct {
		ID            string
		Nickname, Say string
	}
	w.WantPush("userSayNeedCheck").WantInfo("收到用户广播内容").Into(&need)
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(need.ID) || need.ID != queued || need.Nickname != "小明" || need.Say != "<b>hi</b>" {
		t.Fatalf("%+v", need)
	}
	u.WantNothing() // not shown before the approval
	var list []data
	w.Call("live.wall.history", data{"type": "user"}).Want(200, "userSayHistory").WantInfo("获取消息历史成功").Into(&list)
	if len(list) != 1 {
		t.Fatalf("%v", list)
	}
	// A repeated approval has no effect.
	w.Call("live.wall.check", data{"id": need.ID, "status": "1"}).Want(200, "wallCheckSuccess").WantInfo("审核消息成功").WantParam(strconv.Quote(need.ID))
	w.WantPush("userSayBroadcast").WantInfo("用户消息审核通过")
	u.WantPush("userSayBroadcast").Into(&need)
	w.Call("live.wall.check", data{"id": need.ID, "status": 1}).Want(200, "wallCheckSuccess")
	w.WantNothing()
	// A dropped message is not shown.
	for _, check := range []data{{"status": 0}, {}} {
		u.Call("live.user.say", data{"say": "no"}).Want(200, "userSaySuccess").Into(&queued)
		w.WantPush("userSayNeedCheck")
		check["id"] = queued
		w.Call("live.wall.check", check).Want(200, "wallCheckSuccess")
	}
	u.Call("live.user.say", data{"say": "cleaned"}).Want(200, "userSaySuccess")
	w.WantPush("userSayNeedCheck")
	w.Call("live.wall.clean", nil).Want(200, "wallCleanSuccess")
	if f := w.Call("live.wall.history", data{"type": "user"}).Want(200, "userSayHistory"); f.Param != nil {
		t.Fatalf("%s", f.Param)
	}

	// A wall's own message.
	var row struct {
		ID, Status              int64
		Code, Nickname, Say     string
		UserID                  string `json:"user_id"`
		CreateTime, UpdateTime_ int64
	}
	w.Call("live.wall.say", data{"say": "welcome"}).Want(200, "wallSaySuccess").WantInfo("广播成功").Into(&row)
	if row.ID == 0 || row.Status != 1 || row.Code != "A" || row.Nickname != "大屏" || row.Say != "welcome" || row.UserID != "w1" {
		t.Fatalf("%+v", row)
	}
	u.WantPush("wallSayBroadcast").WantInfo("收到大屏幕广播内容")
	for _, c := range []*frameworktest.Client{u, w} {
		method := "live.user.history"
		if c == w {
			method = "live.wall.history"
		}
		c.Call(method, data{"type": "wall", "count": 99}).Want(200, "wallSayHistory").WantInfo("获取历史成功").Into(&list)
		if len(list) != 1 || list[0]["say"] != "welcome" {
			t.Fatalf("%v", list)
		}
	}
	// Only a wall of the same room can recall a message.
	otherWall := h.Dial(wall("B"))
	otherWall.Call("live.wall.recall", data{"id": row.ID}).Want(403, "wallRecallFail").WantInfo("撤回广播失败")
	w.Call("live.wall.recall", data{"id": row.ID}).Want(200, "wallRecallSuccess").WantInfo("撤回广播成功").WantParam(strconv.FormatInt(row.ID, 10))
	u.WantPush("wallSayRecall").WantInfo("撤回一条大屏幕消息").WantParam(strconv.FormatInt(row.ID, 10))
	w.Call("live.wall.recall", data{"id": row.ID}).Want(403, "wallRecallFail")
	w.Send(`{"method":"live.wall.recall"}`)
	if got, want := w.Receive(), `{"status":403,"event":"wallRecallFail","info":"撤回广播失败"}`; got != want {
		t.Errorf("without an id: %s", got)
	}
	if f := u.Call("live.user.history", nil).Want(200, "wallSayHistory"); f.Param != nil {
		t.Fatalf("recalled, but shown: %s", f.Param)
	}

	u.Call("live.user.out", nil).Want(200, "userOutSuccess").WantInfo("退出房间成功")
	w.Call("live.wall.out", nil).Want(200, "wallOutSuccess").WantInfo("退出房间成功")
	w.Call("live.wall.say", data{"say": "nobody hears"}).Want(200, "wallSaySuccess")
	u.WantNothing()
	other.WantNothing()
	w.WantNothing()
}

// Only WeChat users can call live.user actions, and only walls live.wall actions. After an error,
// nothing else happens.
func TestRoles(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	u, w := h.Dial(user("A")), h.Dial(wall("A"))
	nobody := h.Dial(framework.Identity{ID: "g", Type: "guest", Code: "A"})
	for _, r := range h.App.Routes() {
		switch {
		case strings.HasPrefix(r.Method, "live.user."):
			w.Call(r.Method, data{"say": "x"}).Want(403, "mustBeWechatUser").WantInfo("仅允许微信用户连入")
			nobody.Call(r.Method, data{"say": "x"}).Want(403, "mustBeWechatUser")
		case strings.HasPrefix(r.Method, "live.wall."):
			u.Call(r.Method, data{"say": "x", "id": 1}).Want(403, "mustBeWall").WantInfo("仅允许大屏幕用户连入")
		}
	}
	if n := h.App.Stats().Rooms; n != 0 {
		t.Fatalf("%d rooms were joined", n)
	}
	h.Dial(user("")).Call("live.user.join", nil).Want(999, "codeIsEmpty").WantInfo("code不能为空")
	h.Dial(wall("")).Call("live.wall.join", nil).Want(999, "codeIsEmpty")
	w.Call("live.wall.history", data{"type": "other"}).Want(401, "typeError").WantInfo("类型错误")
	for _, bad := range []data{{}, {"say": ""}, {"say": strings.Repeat("长", 501)}, {"say": []int{1}}} {
		u.Call("live.user.say", bad).Want(400, "paramError")
	}
	u.Call("live.user.history", data{"page": "-1"}).Want(400, "paramError")
	for _, bad := range []string{`null`, `""`, `[1]`, `{}`, `"` + strings.Repeat("x", 65) + `"`} {
		w.Send(`{"method":"live.wall.check","id":` + bad + `}`)
		if got := w.Receive(); !strings.Contains(got, `"event":"paramError"`) {
			t.Errorf("%s: %s", bad, got)
		}
	}
	w.Call("live.wall.check", data{"id": 17}).Want(200, "wallCheckSuccess").WantParam(`"17"`) // an unknown id is returned as a text, too
}

// The limit of a text applies to its form before escaping, and the table can hold the escaped form.
func TestSayEscaped(t *testing.T) {
	h := frameworktest.New(t, app.Controllers, frameworktest.Config(func(c *config.App) { c.Protocol.EscapeHTML = true }))
	u, w := h.Dial(user("A")), h.Dial(wall("A"))
	for _, text := range []string{strings.Repeat(`"`, 101), strings.Repeat("'", 500), strings.Repeat("长", 500)} {
		escaped := strings.NewReplacer(`"`, "&quot;", "'", "&#039;").Replace(text)
		u.Call("live.user.say", data{"say": text}).Want(200, "userSaySuccess")
		var row struct{ Say string }
		if w.Call("live.wall.say", data{"say": text}).Want(200, "wallSaySuccess").Into(&row); row.Say != escaped {
			t.Errorf("%.20s… was said as %.20s…", text, row.Say)
		}
	}
	for _, c := range []*frameworktest.Client{u, w} {
		for _, text := range []string{"", strings.Repeat(`"`, 501)} {
			c.Call(map[bool]string{true: "live.user.say", false: "live.wall.say"}[c == u], data{"say": text}).Want(400, "paramError")
		}
	}
}

// If two walls approve the same message at the same time, it is broadcast once.
func TestCheckRace(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	u, a, b := h.Dial(user("A")), h.Dial(wall("A")), h.Dial(wall("A"))
	u.Call("live.user.join", nil).Want(200, "userJoinSuccess")
	for range 20 {
		var id string
		u.Call("live.user.say", data{"say": "x"}).Want(200, "userSaySuccess").Into(&id)
		check := fmt.Sprintf(`{"method":"live.wall.check","id":%q,"status":1}`, id)
		a.Send(check)
		b.Send(check)
		for _, w := range []*frameworktest.Client{a, b} {
			if got := w.Receive(); !strings.Contains(got, "wallCheckSuccess") {
				t.Fatal(got)
			}
		}
		u.WantPush("userSayBroadcast").WantParam(fmt.Sprintf(`{"id":%q,"nickname":"小明","say":"x"}`, id))
		u.WantNothing()
	}
}

// The review queue of a room holds at most 1,000 messages, and no room code leads to another key.
func TestQueueBounds(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	u, w := h.Dial(user("ID")), h.Dial(wall("ID"))
	w.Call("live.wall.join", nil).Want(200, "wallJoinSuccess")
	var first, id string
	u.Call("live.user.say", data{"say": "1"}).Want(200, "userSaySuccess").Into(&first)
	w.WantPush("userSayNeedCheck")
	w.Call("live.wall.clean", nil).Want(200, "wallCleanSuccess")
	u.Call("live.user.say", data{"say": "2"}).Want(200, "userSaySuccess").Into(&id)
	w.WantPush("userSayNeedCheck")
	if id <= first {
		t.Fatalf("id %s after %s: later ones sort behind", id, first)
	}
	fill := h.Redis.Pipeline()
	for i := range 999 {
		id := fmt.Sprintf("x%031d", i) // sorts after the others
		fill.HSet(t.Context(), "LIVE_USER_MESSAGE_ID", id, fmt.Sprintf(`{"id":%q,"nickname":"n","say":"s"}`, id))
	}
	if _, err := fill.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.Call("live.user.say", data{"say": "too much"}).Want(503, "queueFull").WantInfo("等待审核的消息过多")
	w.WantNothing()
	h.Dial(user("other")).Call("live.user.say", data{"say": "x"}).Want(200, "userSaySuccess")
	for count, want := range map[any]int{nil: 100, 5: 5, "20": 20, 50: 20} {
		in := data{"type": "user"}
		if count != nil {
			in["count"] = count
		}
		var list []struct{ ID string }
		w.Call("live.wall.history", in).Want(200, "userSayHistory").Into(&list)
		if len(list) != want || list[0].ID != fmt.Sprintf("x%031d", 998) || list[want-1].ID != fmt.Sprintf("x%031d", 999-want) {
			t.Fatalf("count %v: %d messages, from %s", count, len(list), list[0].ID)
		}
	}
	var second []struct{ ID string }
	w.Call("live.wall.history", data{"type": "user", "count": 5, "page": "2"}).Want(200, "userSayHistory").Into(&second)
	if len(second) != 5 || second[0].ID != fmt.Sprintf("x%031d", 993) {
		t.Fatalf("page 2: %v", second)
	}
	w.Call("live.wall.check", data{"id": id}).Want(200, "wallCheckSuccess")
	u.Call("live.user.say", data{"say": "room again"}).Want(200, "userSaySuccess")
}

// Pages have 10 entries by default and at most 20, newest first, for users and walls alike
// (contract §6).
func TestHistoryPages(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	u, w := h.Dial(user("A")), h.Dial(wall("A"))
	rows := make([]live.Message, 25)
	for i := range rows {
		rows[i] = live.Message{Code: "A", Say: strconv.Itoa(i + 1), Status: 1}
	}
	rows[11].Status = 0 // a recalled message leaves no gap
	if err := h.DB.Create(rows).Error; err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		page, count any
		says        string // from the newest to the oldest
	}{
		{nil, nil, "25 24 23 22 21 20 19 18 17 16"},
		{0, 0, "25 24 23 22 21 20 19 18 17 16"},
		{1, nil, "25 24 23 22 21 20 19 18 17 16"},
		{2, nil, "15 14 13 11 10 9 8 7 6 5"},
		{"3", nil, "4 3 2 1"},
		{4, nil, ""},
		{nil, 3, "25 24 23"},
		{2, "3", "22 21 20"},
		{nil, 20, "25 24 23 22 21 20 19 18 17 16 15 14 13 11 10 9 8 7 6 5"},
		{nil, 21, "25 24 23 22 21 20 19 18 17 16 15 14 13 11 10 9 8 7 6 5"},
		{"2", 1000, "4 3 2 1"},
	} {
		in := data{"type": "wall"}
		if tc.page != nil {
			in["page"] = tc.page
		}
		if tc.count != nil {
			in["count"] = tc.count
		}
		for method, c := range map[string]*frameworktest.Client{"live.user.history": u, "live.wall.history": w} {
			f := c.Call(method, in).Want(200, "wallSayHistory")
			var list []live.Message
			if f.Param != nil {
				f.Into(&list)
			}
			says := make([]string, len(list))
			for i := range list {
				says[i] = list[i].Say
			}
			if got := strings.Join(says, " "); got != tc.says {
				t.Errorf("%s page %v count %v: %s", method, tc.page, tc.count, got)
			}
		}
	}
	u.Call("live.user.history", data{"count": -1}).Want(400, "paramError")
}

func TestDatabaseGone(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	w := h.Dial(wall("A"))
	if err := h.DB.Migrator().DropTable("live_wall_message"); err != nil {
		t.Fatal(err)
	}
	f := w.Call("live.wall.say", data{"say": "x"}).Want(501, "insertDbError").WantInfo("保存数据至数据库失败")
	if strings.Contains(string(f.Param), "table") {
		t.Fatalf("the client received the cause: %s", f.Param)
	}
	w.Call("live.wall.history", data{"type": "wall"}).Want(500, "controllerError").WantInfo("程序错误")
}

// A connection that ends is removed from the room's set in Redis and from the bookkeeping.
func TestClose(t *testing.T) {
	h := frameworktest.New(t, app.Controllers)
	u, w := h.Dial(user("A")), h.Dial(wall("A"))
	u.Call("live.user.join", nil).Want(200, "userJoinSuccess")
	w.Call("live.wall.join", nil).Want(200, "wallJoinSuccess")
	h.Flush()
	for key, n := range map[string]int64{"LIVE_USER_ROOM_A": 1, "LIVE_WALL_ROOM_A": 1} {
		if got := h.Redis.SCard(t.Context(), key).Val(); got != n {
			t.Fatalf("%s has %d members", key, got)
		}
	}
	if n := h.Redis.HLen(t.Context(), "WEBSOCKET_FDINFO").Val(); n != 2 {
		t.Fatalf("FDINFO has %d", n)
	}
	if fd := h.Redis.HGet(t.Context(), "WEBSOCKET_UIDTOFD", "u1").Val(); fd == "" {
		t.Fatal("UIDTOFD misses the user")
	}
	u.Close()
	w.Vanish()
	h.Eventually("all keys gone", func() bool {
		keys := h.Redis.Keys(t.Context(), "*").Val()
		return len(keys) == 1 && keys[0] == "WSFRAME_FD_NEXT"
	})
}
