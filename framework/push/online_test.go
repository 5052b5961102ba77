package push

import (
	"slices"
	"strings"
	"testing"
)

func TestOnline(t *testing.T) {
	t.Parallel()
	b, turns := &recorder{}, newMemory()
	o := &onlineCount{backend: b, store: turns}
	// A number is pushed once, however often it is read and by whichever node.
	for i, want := range []int{1, 0, 0} {
		if err := o.pushChange(t.Context()); err != nil {
			t.Fatal(err)
		}
		sent := slices.DeleteFunc(b.said(), func(c string) bool { return c == "Counts" })
		if len(sent) != want || want == 1 && !strings.Contains(sent[0], `"event":"update_online_count","info":"当前1人在线，共打开2个页面"`) {
			t.Errorf("%d: %s", i, sent)
		}
		if i == 1 {
			_ = turns.Remove(t.Context(), "ONLINE_TURN", []byte{1})
		}
	}
	h := serve(t, Config{OnlineCount: true}) // it runs, and ends
	until(t, "pushed", func() bool { return len(h.backend.said()) > 0 })
}
