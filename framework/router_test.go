package framework_test

import (
	"testing"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// acl guards by the name of the method.
type acl struct{}

var aclForbidden = framework.NewFail(403, "forbidden", "")

func (acl) Guard(c *framework.Ctx) error {
	if c.Method == "evil.acl.delete" {
		return aclForbidden
	}
	return nil
}

func (acl) Delete(*framework.Ctx) (*framework.Reply, error) { return framework.OK("deleted", ""), nil }
func (acl) Index(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("index", c.Method, c.Requested), nil
}
func (acl) OnMessage(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("other", c.Method, c.Requested), nil
}

// A Guard sees one name for a route, however the client spells it.
func TestOneNameForARoute(t *testing.T) {
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("evil.acl", &acl{}), framework.Mount("index", &acl{})}, nil
	})
	c := h.Dial(someone)
	for _, spelling := range []string{"evil.acl.delete", "Evil.Acl.Delete", "EVIL.ACL.DELETE", ".evil.acl.delete.", "...evil.acl.delete", "eVIL.aCL.dELETE..."} {
		c.Call(spelling, nil).Want(403, "forbidden")
	}
	for _, tc := range []struct{ requested, method, event string }{
		{"evil.acl.index", "evil.acl.index", "index"}, {"evil.acl.", "index.evil.acl", ""}, {"Evil.Acl.", "index.evil.acl", ""}, {"evil..index", "", ""},
		{"Evil.Acl.Index", "evil.acl.index", "index"}, {"evil.acl.No.", "evil.acl.no", "other"},
		{"index", "index.index.index", "index"}, {"INDEX.", "index.index.index", "index"}, {".", "index.index.index", "index"}, {"Nothing", "index.index.nothing", "other"},
	} {
		if tc.event == "" {
			c.Call(tc.requested, nil).Want(404, "controllerNotFound")
			continue
		}
		c.Call(tc.requested, nil).Want(200, tc.event).WantInfo(tc.method).WantParam(`"` + tc.requested + `"`)
	}
	c.Send(`{}`)
	if got, want := c.Receive(), `{"status":200,"event":"index","info":"index.index.index"}`; got != want {
		t.Errorf("without a method: %s", got)
	}
}
