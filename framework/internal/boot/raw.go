//go:build !rawecho

package boot

import "wsframe/framework/internal/hub"

// rawHandler is nil in every build but the one for protocol conformance tests (build tag rawecho).
var rawHandler func(*hub.Conn, []byte)
