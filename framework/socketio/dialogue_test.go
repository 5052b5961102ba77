package socketio

import (
	"regexp"
	"slices"
	"testing"
)

func TestDialogue(t *testing.T) {
	for _, tc := range []struct {
		version int
		packet  string
		answer  string // regular expression
		event   string
		uid     string
		code    int
	}{
		{3, `2`, `^3$`, "", "", 0}, {3, `2probe`, `^3probe$`, "", "", 0}, {4, `3`, "", "", "", 0}, {3, `0{}`, "", "", "", 0}, {3, `5`, "", "", "", 0}, {3, `6`, "", "", "", 0},
		{3, `1`, "", "", "", 1000}, {3, `41`, "", "", "", 1000}, {4, `41`, "", "", "", 1000}, {3, `41/admin`, "", "", "", 0},
		{3, `42["login","u1"]`, "", "login", "u1", 0}, {3, `42["login",123]`, "", "login", "123", 0}, {3, `420["login",null]`, "", "login", "", 0}, {3, `42["login"]`, "", "", "", 0},
		{3, `420["nosuch",{"a":1}]`, "", "nosuch", "", 0}, {3, `42["disconnect"]`, "", "disconnect", "", 0}, {3, `42/admin,["login","u1"]`, "", "", "", 0},
		{4, `42["login","u1"]`, "", "", "", 0}, // before it has connected
		{3, `40`, "", "", "", 0}, {4, `40`, `^40\{"sid":"[0-9a-f]{24}"\}$`, "", "", 0}, {4, `40{"token":"x"}`, `^40\{"sid":"[0-9a-f]{24}"\}$`, "", "", 0},
		{3, `40/admin,`, `^44/admin,"Invalid namespace"$`, "", "", 0}, {3, `40/admin?a=1,`, `^44/admin,"Invalid namespace"$`, "", "", 0}, {4, `40/admin,{}`, `^44/admin,\{"message":"Invalid namespace"\}$`, "", "", 0},
		{3, `430["x"]`, "", "", "", 0}, {3, `44"x"`, "", "", "", 0},
		{3, `451-["x",{"_placeholder":true,"num":0}]`, "", "", "", 1008}, {3, `461-1["x"]`, "", "", "", 1008},
		{3, `42{}`, "", "", "", 1008}, {3, `42[1]`, "", "", "", 1008}, {3, `42["x"`, "", "", "", 1008}, {3, `42["x",[[[[[[[[1]]]]]]]]]`, "", "", "", 1008}, {3, `47`, "", "", "", 1008},
		{3, `4`, "", "", "", 1008}, {3, ``, "", "", "", 1008}, {3, `7`, "", "", "", 1008}, {3, `b4AAAA`, "", "", "", 1008},
	} {
		d := NewDialogue(tc.version)
		s := d.Packet([]byte(tc.packet), 8)
		if !regexp.MustCompile(tc.answer).Match(s.Answer) || tc.answer == "" && s.Answer != nil || s.Event != tc.event || s.UID != tc.uid || s.Code != tc.code ||
			s.Login != (tc.event == "login") || (s.Reason != "") != (tc.code != 0) {
			t.Errorf("%d %q: %+v answer %q", tc.version, tc.packet, s, s.Answer)
		}
	}
}

// The first login that the server accepts counts, and a client of version 4 has to connect once.
func TestDialogueOrder(t *testing.T) {
	d := NewDialogue(4)
	var answers []string
	for _, packet := range []string{`40`, `40`, `42["login","a"]`, `42["login","b"]`} {
		s := d.Packet([]byte(packet), 8)
		if s.Login {
			answers, d.LoggedIn = append(answers, s.UID), true
		} else if s.Answer != nil {
			answers = append(answers, string(s.Answer[:2]))
		}
	}
	if want := []string{"40", "a"}; !slices.Equal(answers, want) {
		t.Errorf("%q, want %q", answers, want)
	}
	if g := string(Greeting(3)); g != "40" || Greeting(4) != nil {
		t.Errorf("greeting %q", g)
	}
}
