// Package static holds the only files that are served over HTTP: the demo pages. They are part of the binary.
package static

import "embed"

// FS is served under /static/.
//
//go:embed *.html *.js *.css *.svg
var FS embed.FS
