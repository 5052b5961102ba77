//go:build unix

package testserver

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// StartNginx starts nginx. http returns the text of the http block for its address, host:port.
func StartNginx(t testing.TB, http func(addr string) string) *Server {
	t.Helper()
	path, dir := program(t, "nginx", "nginx"), directory(t)
	file := filepath.Join(dir, "nginx.conf")
	return start(t, dir, func(net.Conn) error { return nil }, func(port int) []string {
		var temp strings.Builder
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			fmt.Fprintf(&temp, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
		}
		user := ""
		if os.Geteuid() == 0 {
			user = "user root;\n"
		}
		conf := user + "daemon off;\nmaster_process off;\nerror_log stderr;\npid " + filepath.Join(dir, "pid") + ";\nevents { worker_connections 4096; }\nhttp {\naccess_log " +
			filepath.Join(dir, "access.log") + ";\n" + temp.String() + http(fmt.Sprintf("127.0.0.1:%d", port)) + "\n}\n"
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{path, "-p", dir, "-e", "stderr", "-c", file}
	})
}
