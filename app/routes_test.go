package app_test

import (
	"flag"
	"testing"

	"wsframe/app"
	"wsframe/framework/frameworktest"
)

var update = flag.Bool("update", false, "write the list of routes")

// Every route that clients can call stands in a list: a route is added, renamed or removed on
// purpose.
func TestRoutes(t *testing.T) {
	frameworktest.CheckRoutes(t, app.Controllers, "testdata/routes.txt", *update)
}
