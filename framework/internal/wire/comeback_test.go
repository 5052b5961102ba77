package wire

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of close codes into wsframe.js")

const (
	clientFile = "../../../public/static/wsframe.js"
	tableBegin = "const CLOSE = {\n"
	tableEnd   = "};\n"
)

// The client's table of close codes is generated from this package's.
func TestComebacksInClient(t *testing.T) {
	source, err := os.ReadFile(clientFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(source), tableBegin)
	got, tail, ended := strings.Cut(rest, tableEnd)
	if !found || !ended {
		t.Fatalf("%s has no table of close codes", clientFile)
	}
	var want strings.Builder
	for _, r := range closeRules {
		fmt.Fprintf(&want, "  %d: ['%s', '%s'],\n", r.Code, r.When, r.Meaning)
	}
	switch {
	case got == want.String():
	case *update:
		if err := os.WriteFile(clientFile, []byte(head+tableBegin+want.String()+tableEnd+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table in %s is not this package's: go generate ./framework/internal/wire\n%s", clientFile, got)
	}
}

func TestComebackOf(t *testing.T) {
	if !slices.IsSortedFunc(closeRules, func(a, b CloseRule) int { return a.Code - b.Code }) {
		t.Error("the rules are not in the order of their codes")
	}
	for code, want := range map[int]Comeback{
		CloseRestart: ComebackNow, CloseGoingAway: ComebackBackoff, CloseAbnormal: ComebackBackoff, CloseRefused: ComebackLater,
		CloseToken: ComebackToken, CloseReplaced: ComebackNever, 4999: ComebackBackoff,
	} {
		if got := ComebackOf(code); got.When != want || got.Code != code {
			t.Errorf("%d: %v, want %s", code, got, want)
		}
	}
	now := 0
	for _, r := range closeRules {
		if r.When == ComebackNow {
			now++
		}
		if len(r.Meaning) == 0 || len(r.Meaning) > 60 || strings.ContainsAny(r.Meaning, "'\\") {
			t.Errorf("%d means %q", r.Code, r.Meaning)
		}
	}
	if now != 1 {
		t.Errorf("%d codes let all clients come back at once, want 1", now)
	}
}
