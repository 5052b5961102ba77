package frameworktest_test

import (
	"fmt"
	"testing"

	"wsframe/framework/frameworktest"
)

// A hundred tests of an application, each with a server of its own, take seconds.
func TestHundred(t *testing.T) {
	for i := range 100 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			h := frameworktest.New(t, controllers, frameworktest.Quiet())
			a, b := dial(h, "1"), dial(h, "2")
			a.Call("lobby.join", nil).Want(200, "joined")
			b.Call("lobby.say", map[string]any{"text": "hi"}).Want(200, "saySuccess")
			a.WantPush("said").WantParam(`"hi"`)
		})
	}
}
