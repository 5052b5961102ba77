//go:build !unix

package boot

import "wsframe/framework/process"

// transferVersions is empty: connections cannot be moved here, and a reload closes them with 1012.
var transferVersions process.Versions
