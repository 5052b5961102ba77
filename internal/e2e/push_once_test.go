//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"wsframe/framework/push"
	"wsframe/internal/testserver"
)

// A batch runs while Redis stops answering. Its result is stored when Redis is back, and the same
// request then returns it. Nothing runs twice.
func TestPushOnceHiccup(t *testing.T) {
	r := testserver.StartRedis(t)
	s := start(t, "WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_CACHE_MASTER_ADDRS="+r.Addr, "WSFRAME_CACHE_MASTER_PASSWORD="+r.Password, "WSFRAME_CACHE_MASTER_TIMEOUT=100ms")
	seven := s.user(s.client(""), "7")
	call := func(method string, params map[string]any) map[string]any {
		return map[string]any{"method": method, "params": params}
	}
	calls := append([]map[string]any{call("sendToUID", map[string]any{"uid": "7", "event": "paid"})}, slices.Repeat([]map[string]any{call("history", map[string]any{"room": "A"})}, 30)...)
	batch := func() (result json.RawMessage, err error) {
		return result, s.client("").CallOnce(t.Context(), "order-5", "batch", map[string]any{"calls": calls}, &result)
	}
	type answer struct {
		result json.RawMessage
		err    error
	}
	said := make(chan answer, 1)
	go func() { result, err := batch(); said <- answer{result, err} }()
	seven.want(`"event":"paid"`) // the request is running
	r.Freeze()
	first := <-said
	r.Thaw()
	if first.err != nil {
		t.Fatal(first.err)
	}
	until(t, "it has an answer", func() bool {
		again, err := batch()
		var e *push.Error
		if errors.As(err, &e) && (e.Code == push.CodeInProgress || e.Code == push.CodeUnavailable || e.Code == push.CodeOutcomeUnknown) {
			return false // not yet
		}
		if err != nil || string(again) != string(first.result) {
			t.Fatalf("%v\nfirst %s\nagain %s", err, first.result, again)
		}
		return true
	})
	if err := s.client("").SendToUID(t.Context(), "7", &push.Push{Event: "after"}); err != nil {
		t.Fatal(err)
	}
	seven.want(`"event":"after"`)
}

// A request whose server died in the middle does not run again under its key, and the response says
// so.
func TestPushOnceUnknown(t *testing.T) {
	r := testserver.StartRedis(t)
	s := start(t, "WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_CACHE_MASTER_ADDRS="+r.Addr, "WSFRAME_CACHE_MASTER_PASSWORD="+r.Password)
	seven := s.user(s.client(""), "7")
	send := func() error {
		return s.client("").CallOnce(t.Context(), "order-6", "reach", map[string]any{"uid": "7", "event": "paid"}, nil)
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	seven.want(`"event":"paid"`)
	// A dead server leaves only the reservation of the key: the hash of the request, no status, and
	// an expired time.
	client := redis.NewClient(&redis.Options{Addr: r.Addr, Password: r.Password})
	defer client.Close()
	keys, err := client.Keys(t.Context(), "*WSFRAME_PUSH:ONCE:*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	kept, err := client.Get(t.Context(), keys[0]).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	claim := append(kept[:32:32], make([]byte, 18)...)
	if err := client.Set(t.Context(), keys[0], claim, redis.KeepTTL).Err(); err != nil {
		t.Fatal(err)
	}
	var e *push.Error
	if err := send(); !errors.As(err, &e) || e.Code != push.CodeOutcomeUnknown || e.Code.Status() != 409 {
		t.Errorf("got %v", err)
	}
	if left, err := client.TTL(t.Context(), keys[0]).Result(); err != nil || left.Minutes() < 8 {
		t.Errorf("the claim lives for %s: %v", left, err)
	}
}

// PHP can read kept pushes of all senders as a page of the history.
func TestPushHistoryPHP(t *testing.T) {
	s := start(t, "WSFRAME_APP_HISTORY_ROOMS=CHAT_*:200:24h")
	c := s.user(s.client(""), "7")
	c.send(`{"method":"chat.room.join","room":"tech"}`)
	c.wantPush("roomJoinSuccess", "") // the room's position may arrive before or after it
	c.send(`{"method":"chat.room.say","room":"tech","text":"half \ud83d"}`)
	c.wantPush("roomSaySuccess", "")
	for _, param := range []string{`"\ud83d"`, `{"a":{"b":1,"b":2}}`, `[1e400]`} {
		status, said := fetch(t, "POST", "http://"+s.push+"/api/v1/sendToRoom", "application/json", `{"room":"CHAT_ROOM_tech","event":"e","param":`+param+`}`)
		if status != 400 || !strings.Contains(said, `"badRequest"`) {
			t.Errorf("%s: %d %s", param, status, said)
		}
	}
	const script = `require $argv[1]; $ws = new Wsframe($argv[2]); echo count($ws->history('CHAT_ROOM_tech')['items']);`
	out, err := exec.CommandContext(t.Context(), "php", "-r", script, "--", root+"/docs/php/Wsframe.php", "http://"+s.push).CombinedOutput()
	if err != nil || string(out) != "2" { // the join and the message
		t.Errorf("%s %v", out, err)
	}
}
