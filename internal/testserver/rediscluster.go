//go:build unix

package testserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// RedisCluster is a Redis Cluster of masters without replicas, with one password.
type RedisCluster struct {
	Masters  []*Redis
	Password string
}

// Addrs returns the addresses of all masters.
func (c *RedisCluster) Addrs() (addrs []string) {
	for _, r := range c.Masters {
		addrs = append(addrs, r.Addr)
	}
	return addrs
}

// slots is the number of hash slots of a Redis Cluster.
const slots = 16384

// StartRedisCluster starts a cluster of three masters that have all slots.
func StartRedisCluster(t testing.TB, options ...string) *RedisCluster {
	t.Helper()
	const masters = 3
	c := &RedisCluster{}
	for range masters {
		// A node listens on a second port, which is the first one + 10000 by default.
		r := StartRedis(t, append([]string{
			"--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(FreePort(t)), "--cluster-node-timeout", "5000", "--cluster-require-full-coverage", "no",
		}, options...)...)
		c.Masters = append(c.Masters, r)
	}
	c.Password = c.Masters[0].Password
	for i, r := range c.Masters {
		if i > 0 { // all have one password, since a client has only one
			r.say(t, "CONFIG SET masterauth "+c.Password, "CONFIG SET requirepass "+c.Password)
			for i, word := range r.command { // for a Restart
				if word == r.Password {
					r.command[i] = c.Password
				}
			}
			r.Password, r.ready = c.Password, c.Masters[0].ready
		}
		r.say(t, fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*slots/masters, (i+1)*slots/masters-1), fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1))
	}
	for _, r := range c.Masters[1:] {
		host, port, err := net.SplitHostPort(r.Addr)
		if err != nil {
			t.Fatal(err)
		}
		bus := ""
		for i, word := range r.command {
			if word == "--cluster-port" {
				bus = r.command[i+1]
			}
		}
		c.Masters[0].say(t, "CLUSTER MEET "+host+" "+port+" "+bus)
	}
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		ready := 0
		for _, r := range c.Masters {
			info := r.say(t, "CLUSTER INFO")
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_slots_ok:%d", slots)) &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", masters)) {
				ready++
			}
		}
		if ready == masters {
			return c
		}
		if time.Now().After(end) {
			t.Fatal("the nodes of the cluster do not find each other")
		}
	}
}

// say sends commands and returns the last reply. An error ends the test.
func (r *Redis) say(t testing.TB, commands ...string) (answer string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", r.Addr, limit)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	in := bufio.NewReader(conn)
	for _, command := range append([]string{"AUTH " + r.Password}, commands...) {
		if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
			t.Fatal(err)
		}
		line, err := in.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "-") {
			t.Fatalf("%s: %s %v", strings.Fields(command)[0], line, err)
		}
		answer = line
		var size int
		if n, _ := fmt.Sscanf(line, "$%d", &size); n == 1 {
			text := make([]byte, size+2)
			if _, err := io.ReadFull(in, text); err != nil {
				t.Fatal(err)
			}
			answer = string(text)
		}
	}
	return answer
}
