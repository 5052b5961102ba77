// Package index is the module that answers where a request names none.
package index

import "wsframe/framework"

// Index is the default controller.
type Index struct{}

// Index answers that the server works.
func (*Index) Index(*framework.Ctx) (*framework.Reply, error) {
	return framework.OK("success", "执行完成"), nil
}
