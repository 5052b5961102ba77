//go:build !linux

package process

import (
	"os"
	"runtime"
)

// residentBytes returns the memory of the Go runtime, of this process only.
func residentBytes(pid int) int64 {
	if pid != os.Getpid() {
		return 0
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
