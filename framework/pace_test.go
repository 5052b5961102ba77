package framework

import (
	"strings"
	"testing"
	"time"
)

// An action is quick after quick calls in a row, and slow again at the first slow one.
func TestPace(t *testing.T) {
	var p pace
	calls := func(n int, took time.Duration) {
		for range n {
			p.add(took)
		}
	}
	want := func(quick bool) {
		t.Helper()
		if p.quick() != quick {
			t.Fatalf("quick is %v", p.quick())
		}
	}
	calls(firstRun-1, quickCall)
	want(false)
	calls(1, quickCall+1) // neither quick nor slow
	calls(firstRun-1, 0)
	want(false)
	calls(1, 0)
	want(true)
	calls(5, slowCall-1)
	want(true)
	calls(1, slowCall)
	want(false)
	calls(firstRun, 0)
	want(false) // twice as many after a second slow call
	calls(firstRun, 0)
	want(true)
	for range 20 { // frequent slow calls keep it out of the loops
		calls(firstRun, 0)
		calls(1, slowCall)
	}
	calls(longRun-1, 0)
	want(false)
	calls(1, 0)
	want(true)
	calls(1, slowCall) // after a long run it is forgotten
	calls(firstRun, 0)
	want(true)
}

type paced struct{}

func (*paced) Vote(*Ctx) (*Reply, error)      { return nil, nil }
func (*paced) Count(*Ctx) (*Reply, error)     { return nil, nil }
func (*paced) OnMessage(*Ctx) (*Reply, error) { return nil, nil }

// The application can say which actions are quick, before they were measured.
func TestDeclaredPace(t *testing.T) {
	c := Blocking(Inline(Mount("poll", &paced{}), "Vote"), "count")
	r, err := newRouter([]Controller{c, Blocking(Mount("all", &paced{})), Inline(Mount("inline", &paced{})), Mount("none", &paced{})})
	if err != nil {
		t.Fatal(err)
	}
	quick := func(method string) bool {
		found, _ := r.find([]byte(method))
		return found.meter.pace.quick()
	}
	if !quick("poll.vote") || quick("poll.count") || quick("poll.other") || quick("none.vote") {
		t.Error("not as declared")
	}
	for _, method := range []string{"poll.count", "all.vote", "all.other"} {
		found, _ := r.find([]byte(method))
		for range 2 * longRun {
			found.meter.add(0, nil)
		}
		if quick(method) {
			t.Errorf("%s is blocking by its declaration", method)
		}
	}
	for name, method := range map[string]string{"index.poll.vote": "poll.vote", "index.inline.onMessage": "inline.other"} {
		if !quick(method) {
			t.Errorf("%s is not inline", name)
		}
		r.overran(name) // it still runs
		if quick(method) {
			t.Errorf("%s holds the loop and is still inline", name)
		}
		r.overran("index.none.vanished") // has no effect
	}
	var shown []string
	for _, route := range r.routes() {
		shown = append(shown, route.Method+" "+route.Pace)
	}
	if got := strings.Join(shown, ","); got != "index.all.count blocking,index.all.vote blocking,index.inline.count inline,index.inline.vote inline,index.none.count ,index.none.vote ,index.poll.count blocking,index.poll.vote inline" {
		t.Error(got)
	}
	if _, err := newRouter([]Controller{Inline(Mount("poll", &paced{}), "Vote", "vanish")}); err == nil || !strings.Contains(err.Error(), `mount "index.poll": *framework.paced has no action "vanish" that could be inline`) {
		t.Error(err)
	}
	if _, err := newRouter([]Controller{Inline(Mount("", &paced{}), "vanish")}); err == nil || strings.Contains(err.Error(), "vanish") {
		t.Error(err)
	}
}
