//go:build !linux

package process

import (
	"os"
	"runtime"
)

// residentBytes is what the Go runtime holds; only of this process.
func residentBytes(pid int) int64 {
	if pid != os.Getpid() {
		return 0
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
