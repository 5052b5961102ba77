package config

import "testing"

func TestHeartbeatTexts(t *testing.T) {
	good, err := HeartbeatTexts([]string{"ping=pong", "心跳=", "=", "a=b=c"})
	if err != nil || good["ping"] != "pong" || good["2"] != "3" || good["a"] != "b=c" || len(good) != 5 {
		t.Errorf("%v %v", good, err)
	}
	for _, bad := range []string{"ping", "2=4", "a\x00=", "\xff=", "x=\n"} {
		if _, err := HeartbeatTexts([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := HeartbeatTexts([]string{"a=b", "a=c"}); err == nil {
		t.Error("two answers to one text")
	}
}
