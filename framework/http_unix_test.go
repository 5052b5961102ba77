//go:build unix

package framework_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// A request that is under way at a reload is answered by the old worker, and reaches the clients
// where they are now.
func TestHTTPReload(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	arrived, gate := make(chan struct{}), make(chan struct{})
	old, next := frameworktest.NewWorkers(t, true, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("probe", &probe{}), framework.HTTP("/slow", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-gate
			if err := framework.ServerOf(r.Context()).SendToAll(framework.OK("news", "", "late")); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(w, "done")
		}))}, nil
	})
	c := old.Dial(someone)
	answered := make(chan string, 1)
	go func() {
		_, body := fetch(t, "GET", httpURL(old)+"/slow", "")
		answered <- body
	}()
	<-arrived
	old.App.Pause()
	move(t, old.App, next.App)
	old.App.StopAccepting()
	closed := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), frameworktest.Timeout)
		defer cancel()
		closed <- old.App.Close(ctx)
	}()
	close(gate)
	if got := <-answered; got != "done" {
		t.Errorf("%q", got)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	c.WantPush("news").WantParam(`"late"`)
}
