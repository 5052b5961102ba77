//go:build unix

package testserver

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// MariaDB is a real mariadbd with an empty database wsframe. Its user may make further ones whose
// names begin with wsframe.
type MariaDB struct {
	*Server
	DSN string // for go-sql-driver/mysql, without options
}

// StartMariaDB starts a MariaDB. Its system tables take some seconds.
func StartMariaDB(t testing.TB) *MariaDB {
	t.Helper()
	install, path := program(t, "mariadb-install-db", "mariadb-server"), program(t, "mariadbd", "mariadb-server")
	dir, password := directory(t), rand.Text()
	data := filepath.Join(dir, "data")
	var user []string
	if os.Geteuid() == 0 {
		user = []string{"--user=root"}
	}
	out, err := exec.Command(install, append([]string{"--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal", "--skip-test-db"}, user...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", install, err, out)
	}
	first := filepath.Join(dir, "first.sql") // runs before connections are accepted
	sql := fmt.Sprintf("CREATE DATABASE IF NOT EXISTS wsframe CHARACTER SET utf8mb4;\nCREATE USER IF NOT EXISTS wsframe@'127.0.0.1' IDENTIFIED BY '%s';\n"+
		"GRANT ALL ON `wsframe%%`.* TO wsframe@'127.0.0.1';\n", password)
	if err := os.WriteFile(first, []byte(sql), 0o600); err != nil {
		t.Fatal(err)
	}
	greeting := func(c net.Conn) error {
		_, err := c.Read(make([]byte, 1))
		return err
	}
	s := start(t, dir, greeting, func(port int) []string {
		return append([]string{path, "--no-defaults", "--datadir=" + data, "--bind-address=127.0.0.1", "--port=" + strconv.Itoa(port),
			"--socket=" + filepath.Join(dir, "s"), "--pid-file=" + filepath.Join(dir, "pid"), "--init-file=" + first, "--skip-name-resolve",
			"--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=2"}, user...)
	})
	return &MariaDB{s, fmt.Sprintf("wsframe:%s@tcp(%s)/wsframe", password, s.Addr)}
}
