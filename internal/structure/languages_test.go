package structure

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Documents in two languages have the same headings: the same levels in the same order, with the same section numbers.
func TestLanguages(t *testing.T) {
	level := regexp.MustCompile(`(?m)^#{1,6} +(?:\d+\.)?`)
	docs := documents(t)
	count := 0
	for name, chinese := range docs {
		english, ok := strings.CutSuffix(name, ".zh-CN.md")
		if !ok {
			continue
		}
		count++
		english += ".md"
		got, want := level.FindAllString(prose(chinese), -1), level.FindAllString(prose(docs[english]), -1)
		if len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s has the headings %q, %s %q", name, got, english, want)
		}
	}
	if count < 5 {
		t.Errorf("only %d documents in two languages were found", count)
	}
}
