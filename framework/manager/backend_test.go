package manager

import (
	"encoding/json"
	"testing"
)

// Scripts read the output of `console -s status -json`: the names and the order of its fields stay.
func TestStatusJSON(t *testing.T) {
	const want = `{"version":"1","master_version":"","connections":2,"uids":0,"rooms":0,"master_pid":0,"worker_pid":0,"worker_restarts":0,"memory_bytes":0,"uptime_seconds":0,` +
		`"messages_in":0,"messages_out":0,"bytes_in":0,"bytes_out":0,"closed_slow":0,"closed_idle":0,"dropped":3,` +
		`"goroutines":0,"store":"","store_pending":0,"worker_state":"","worker_silent_seconds":0,"runtime_dir":"","key_file":"","nodes":null}`
	if b, err := json.Marshal(Status{Version: "1", Connections: 2, Traffic: Traffic{Dropped: 3}}); err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
}
