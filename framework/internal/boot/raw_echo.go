//go:build rawecho

package boot

import "wsframe/framework/internal/hub"

// rawHandler echoes every message instead of routing it. Only a binary built for conformance tests has it: no setting
// can switch it on.
var rawHandler = func(c *hub.Conn, data []byte) { _ = c.Echo(data) }
