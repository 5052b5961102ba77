package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Place identifies a runtime directory among all that exist at the same time, on whatever machine:
// by the boot of this machine's kernel and by the lock file, which one master holds. "" = unknown.
func Place(dir string) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	info, err := os.Stat(filepath.Join(dir, lockFile))
	if err != nil {
		return ""
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s/%d/%d", strings.TrimSpace(string(boot)), s.Dev, s.Ino)
}
