//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// statusOf returns the HTTP status of a handshake.
func (s *server) statusOf(token string, header http.Header) int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	c, answer, err := websocket.Dial(ctx, "ws://"+s.outside+"/?auth="+token, &websocket.DialOptions{HTTPHeader: header})
	if err == nil {
		_ = c.CloseNow()
		return http.StatusSwitchingProtocols
	}
	if answer == nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode
}

// Back ends cannot use the server's own keys as rooms. Every call refuses them by name.
func TestReservedRooms(t *testing.T) {
	t.Parallel()
	s := start(t)
	api := "http://" + s.push + "/api/v1/"
	for call, body := range map[string]string{
		"join": `{"fd":1,"room":%q}`, "leave": `{"fd":1,"room":%q}`, "dismissRoom": `{"room":%q}`, "roomCount": `{"room":%q}`, "roomMembers": `{"room":%q}`,
		"history": `{"room":%q}`, "sendToRoom": `{"room":%q,"event":"e"}`,
	} {
		for _, room := range []string{"WEBSOCKET_BUS:{s0}", "WSFRAME_LEAVING", "LIVE_USER_MESSAGE_V"} {
			if status, text := fetch(t, "POST", api+call, "application/json", fmt.Sprintf(body, room)); status != 400 || !strings.Contains(text, room) {
				t.Errorf("%s %s: %d %s", call, room, status, text)
			}
		}
	}
	if status, text := fetch(t, "POST", api+"sendToRoom", "application/json", `{"room":"LIVE_USER_ROOM_V","event":"e"}`); status != 200 {
		t.Errorf("a documented room: %d %s", status, text)
	}
}

// With the switches of MSwoole-ws, a wall's token that was forged from the tokens of two users is
// refused, and users are admitted.
func TestSplicedToken(t *testing.T) {
	t.Parallel()
	s := start(t, "WSFRAME_APP_PROTOCOL_COMPAT=mswoole", "WSFRAME_APP_AUTH_KEY_3DES=marico-websocket")
	blocks := func(id, nickname string) (token string, raw []byte) {
		lines := strings.Fields(s.ok("-s", "token", "-type", "wechatUser", "-id", id, "-code", "ROOM", "-nickname", nickname, "-3des"))
		token = lines[len(lines)-1]
		raw, err := base64.StdEncoding.DecodeString(strings.NewReplacer("*", "+", ":", "/", "_", "=").Replace(token))
		if err != nil {
			t.Fatal(err)
		}
		return token, raw
	}
	token, first := blocks("7", "n")
	_, second := blocks("abc", "wall")
	raw := append(append(append([]byte(nil), first[:16]...), second[56:64]...), second[32:]...)
	forged := strings.NewReplacer("+", "*", "/", ":", "=", "_").Replace(base64.StdEncoding.EncodeToString(raw))
	if got := s.statusOf(forged, nil); got != 403 {
		t.Errorf("the forged wall: %d", got)
	}
	if got := s.statusOf(token, nil); got != 101 {
		t.Errorf("a user: %d", got)
	}
	if !strings.Contains(s.out.String(), "wechatUser (auth.types_3des)") {
		t.Error("start does not say which types come by 3DES")
	}
}

// A valid token is admitted among any number of bad ones from the same address, and the metrics
// count the refusals.
func TestGoodAmongBad(t *testing.T) {
	t.Parallel()
	s := start(t)
	good := s.token("wechatUser", "7")
	for range 60 { // three times refused_rate
		if got := s.statusOf("bad", nil); got != 403 {
			t.Fatal(got)
		}
	}
	for range 5 {
		if got := s.statusOf(good, http.Header{"Origin": {"http://" + s.outside}}); got != 101 {
			t.Fatalf("a good token: %d", got)
		}
	}
	if status, text := fetch(t, "GET", "http://"+s.push+"/metrics", "", ""); status != 200 || !strings.Contains(text, `wsframe_handshakes_refused_total{reason="token",status="403"} 60`) {
		t.Errorf("%d %s", status, text)
	}
	if n := strings.Count(s.log(), "handshake refused"); n != 1 {
		t.Errorf("%d lines of log", n)
	}
}
