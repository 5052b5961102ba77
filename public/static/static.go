// Package static embeds the demo pages, the only files that the server serves over HTTP.
package static

import "embed"

// FS contains the files, which are served under /static/.
//
//go:embed *.html *.js *.css *.svg
var FS embed.FS
