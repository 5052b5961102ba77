// Package index is the module for requests without a method.
package index

import "wsframe/framework"

// Index is the default controller.
type Index struct{}

// Index replies that the server works.
func (*Index) Index(*framework.Ctx) (*framework.Reply, error) {
	return framework.OK("success", "执行完成"), nil
}
