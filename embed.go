// Package wsframe carries the framework's sources, out of which `console new` writes projects, and
// `console upgrade` renews the copy of the framework that a project has.
package wsframe

import "embed"

// Sources are the files of the framework by their path from the top of the checkout. Folders are
// listed by name: what is not here is neither in a project nor in its program. A file whose name
// begins with "." or "_" is left out by go:embed.
//
//go:embed CHANGELOG.md LICENSE README.md README.zh-CN.md VERSION embed.go go.mod go.sum llms.txt
//go:embed nginx.conf.example
//go:embed app config framework library public
//go:embed docs/*.md docs/deploy docs/php
var Sources embed.FS
