//go:build !unix

package boot

import "wsframe/framework/process"

// Connections cannot be moved here: a reload closes them with 1012.
var transferVersions process.Versions
