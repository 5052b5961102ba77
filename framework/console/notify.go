package console

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"wsframe/framework/process"
)

// notifyTime bounds what telling systemd may take.
const notifyTime = time.Second

// notify tells systemd, where it started us (Type=notify or notify-reload; sd_notify(3)).
func notify(s process.State) {
	switch s {
	case process.Serving:
		tellSystemd("READY=1")
	case process.Reloading:
		tellSystemd(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic().Microseconds()))
	case process.Stopping:
		tellSystemd("STOPPING=1")
	}
}

// watchdog gives what tells systemd that all is well, four times in WatchdogSec; nil where it does not ask for it
// (sd_watchdog_enabled(3)).
func watchdog() (alive func()) {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); err != nil || usec <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return nil
	}
	every := time.Duration(usec) * time.Microsecond / 4
	var last time.Time
	return func() {
		if now := time.Now(); now.Sub(last) >= every {
			last = now
			tellSystemd("WATCHDOG=1")
		}
	}
}

// tellSystemd sends a state. What systemd does not take is its loss.
func tellSystemd(text string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialTimeout("unixgram", path, notifyTime)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(notifyTime))
	_, _ = conn.Write([]byte(text))
}
