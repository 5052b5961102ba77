//go:build !unix

package console

import (
	"os"
	"time"
)

var extraSignals []os.Signal

func isReload(os.Signal) bool { return false }

func monotonic() time.Duration { return 0 }

func inheritedFile(int, string) *os.File { return nil }
