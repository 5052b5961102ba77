package live_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"wsframe/app"
	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// A golden transcript of an original client's session against protocol.compat: mswoole, with its
// token form.
func TestTranscriptOfTheOriginal(t *testing.T) {
	env := []string{"WSFRAME_APP_PROTOCOL_COMPAT=mswoole", "WSFRAME_APP_AUTH_KEY_3DES=marico-websocket", "WSFRAME_APP_AUTH_LIFETIME=0s", "WSFRAME_APP_AUTH_TYPES_3DES=wechatUser,wall"}
	cfg, err := config.Load("", env)
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.App.Protocol.ReceiveAck || !cfg.App.Protocol.EscapeHTML || !cfg.App.Auth.Accept3DES {
		t.Fatal("compat does not set its switches")
	}
	h := frameworktest.New(t, app.Controllers, frameworktest.Config(func(c *config.App) { *c = cfg.App }), frameworktest.TripleDES("marico-websocket", cfg.App.Auth.Types3DES...))
	// The token of shared vector "wall A1": id 7.
	wall := h.DialToken("838LGHFbQQzi4lKUzcgvPQCHd3i5DoZcuRIofjgzzkiF8Og3NgZTi3O*7i6NGRrhci91qY2L19dlkhu80hrXyECI4c*X1CDv")
	user, err := h.Tokens.Issue3DES(framework.Identity{ID: "9", Type: framework.TypeWechatUser, Code: "A1", Nickname: "u", CTime: 1700000000})
	if err != nil {
		t.Fatal(err)
	}
	phone := h.DialToken(user)
	b, err := os.ReadFile("testdata/mswoole-session.txt")
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string]*frameworktest.Client{"wall": wall, "phone": phone}
	times := regexp.MustCompile(`(_time":)\d+`)
	texts, named := regexp.MustCompile(`[0-9a-f]{32}`), []string{} // of the second the first is ID1
	asked := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		who, text, ok := strings.Cut(line, " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		arrow, text, _ := strings.Cut(text, " ")
		if arrow == ">" {
			for i, id := range named {
				text = strings.ReplaceAll(text, fmt.Sprintf(`"ID%d"`, i+1), `"`+id+`"`)
			}
			clients[who].Send(text)
			var frame struct{ Method string }
			if json.Unmarshal([]byte(text), &frame) == nil {
				asked[strings.ToLower(frame.Method)] = true
			}
			continue
		}
		if code, ended := strings.CutPrefix(text, "closed "); ended {
			n, err := strconv.Atoi(code)
			if err != nil {
				t.Fatal(err)
			}
			clients[who].WantClose(n)
			continue
		}
		got := texts.ReplaceAllStringFunc(times.ReplaceAllString(clients[who].Receive(), "${1}0"), func(id string) string {
			if !slices.Contains(named, id) {
				named = append(named, id)
			}
			return fmt.Sprintf("ID%d", slices.Index(named, id)+1)
		})
		if got != text {
			t.Fatalf("%s got  %s\nwant %s", who, got, text)
		}
	}
	for _, r := range h.App.Routes() {
		if strings.HasPrefix(r.Method, "live.") && !asked[r.Method] {
			t.Errorf("%s is not in the transcript", r.Method)
		}
	}
}
