package console

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"wsframe/framework/process"
)

// notifyTime bounds the notification of systemd.
const notifyTime = time.Second

// notify sends the state of the master to systemd, where that has started it with Type=notify or
// notify-reload (sd_notify(3)).
func notify(s process.State) {
	switch s {
	case process.Serving:
		sendState("READY=1")
	case process.Reloading:
		sendState(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic().Microseconds()))
	case process.Stopping:
		sendState("STOPPING=1")
	}
}

// watchdog returns a function that notifies systemd that the master works, four times in
// WatchdogSec at most. It is nil where systemd does not ask for that (sd_watchdog_enabled(3)).
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
			sendState("WATCHDOG=1")
		}
	}
}

// sendState sends a state to systemd. A state that systemd does not accept is lost.
func sendState(text string) {
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
