package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"wsframe/framework/process"
)

// notifyTime bounds what telling systemd may take.
const notifyTime = time.Second

// notify tells systemd, where it started us (Type=notify or notify-reload; sd_notify(3)). What it does not take is its loss.
func notify(s process.State) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	var text string
	switch s {
	case process.Serving:
		text = "READY=1"
	case process.Reloading:
		text = fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic().Microseconds())
	case process.Stopping:
		text = "STOPPING=1"
	default:
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
