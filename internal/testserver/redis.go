//go:build unix

package testserver

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Redis is a real redis-server with a password and an append-only file, so that Kill and Restart
// keep its data.
type Redis struct {
	*Server
	Password string
}

// StartRedis starts a Redis. The options are those of redis.conf, such as "--cluster-enabled",
// "yes".
func StartRedis(t testing.TB, options ...string) *Redis {
	t.Helper()
	return startRedis(t, rand.Text(), options)
}

// TLSOptions returns options of StartRedis by which the server accepts TLS, too, at the port.
func (c Certificates) TLSOptions(port int) []string {
	return []string{"--tls-port", strconv.Itoa(port), "--tls-ca-cert-file", c.CA, "--tls-cert-file", c.Cert, "--tls-key-file", c.Key}
}

// StartReplica starts a replica of r, with the same password.
func StartReplica(t testing.TB, r *Redis) *Redis {
	t.Helper()
	host, port, err := net.SplitHostPort(r.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return startRedis(t, r.Password, []string{"--replicaof", host + " " + port})
}

func startRedis(t testing.TB, password string, options []string) *Redis {
	t.Helper()
	path, dir := program(t, "redis-server", "redis-server"), directory(t)
	ready := func(c net.Conn) error {
		if _, err := fmt.Fprintf(c, "AUTH %s\r\nPING\r\n", password); err != nil {
			return err
		}
		r := bufio.NewReader(c)
		for _, want := range []string{"+OK", "+PONG"} {
			line, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if strings.TrimSpace(line) != want { // such as LOADING
				return fmt.Errorf("it says %.100q", line)
			}
		}
		return nil
	}
	s := start(t, dir, ready, func(port int) []string {
		return append([]string{path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes",
			"--requirepass", password, "--masterauth", password, "--daemonize", "no"}, options...)
	})
	return &Redis{s, password}
}

// SentinelMaster is the name by which a sentinel of StartSentinel knows its Redis.
const SentinelMaster = "mymaster"

// StartSentinel starts a Redis Sentinel without a password. It promotes a replica of r when r has
// not replied for a second. lines are further lines of its configuration.
func StartSentinel(t testing.TB, r *Redis, lines ...string) *Server {
	t.Helper()
	path, dir := program(t, "redis-server", "redis-server"), directory(t)
	host, port, err := net.SplitHostPort(r.Addr)
	if err != nil {
		t.Fatal(err)
	}
	ready := func(c net.Conn) error {
		if _, err := fmt.Fprintf(c, "PING\r\n"); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 1))
		return err
	}
	return start(t, dir, ready, func(own int) []string {
		file := filepath.Join(dir, "sentinel.conf") // sentinels write to their configuration
		conf := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor %s %s %s 1\nsentinel auth-pass %[3]s %[6]s\n"+
			"sentinel down-after-milliseconds %[3]s 1000\nsentinel failover-timeout %[3]s 5000\n%[7]s\n", own, dir, SentinelMaster, host, port, r.Password, strings.Join(lines, "\n"))
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{path, file, "--sentinel"}
	})
}
