package cache

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func startEmbedded(t *testing.T) *Embedded {
	t.Helper()
	e, err := StartEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestEmbedded(t *testing.T) {
	e := startEmbedded(t)
	runContract(t, Options{Addrs: []string{e.Addr()}, Password: e.Password()})
}

func TestEmbeddedWantsItsPassword(t *testing.T) {
	e := startEmbedded(t)
	if host, _, err := net.SplitHostPort(e.Addr()); err != nil || host != "127.0.0.1" {
		t.Errorf("it listens at %s", e.Addr())
	}
	for _, password := range []string{"", "wrong"} {
		c, err := Open(t.Context(), Options{Addrs: []string{e.Addr()}, Password: password})
		if err == nil {
			t.Error(c.Close())
			t.Errorf("the password %q is taken", password)
		}
	}
}

// Keys expire without commands, and the clock costs nothing until one can expire.
func TestEmbeddedTime(t *testing.T) {
	e := startEmbedded(t)
	ctx := t.Context()
	c, err := Open(ctx, Options{Addrs: []string{e.Addr()}, Password: e.Password()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.HExpire(ctx, "h", time.Second, "f").Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(ctx, "k", "v", 100*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "k expires without a command", func() bool { return !e.m.Exists("k") })
}

// The time of a command does not grow with the number of keys.
func BenchmarkEmbedded(b *testing.B) {
	for _, n := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("HSET/keys=%d", n), func(b *testing.B) {
			e, err := StartEmbedded()
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			ctx := b.Context()
			c, err := Open(ctx, Options{Addrs: []string{e.Addr()}, Password: e.Password()})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			for from := 0; from < n; from += 500 {
				_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
					for i := range 500 {
						p.Set(ctx, fmt.Sprint("k", from+i), "v", time.Hour)
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if err := c.HSet(ctx, "h", "f", "v").Err(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A store that is not there is one line, in the time given.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	addr := dead.Addr().String()
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{
		{Addrs: []string{addr}}, {Addrs: []string{silent.Addr().String()}},
		{Addrs: []string{addr, addr}}, {Addrs: []string{addr}, SentinelMaster: "m", Password: "p"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		c, err := Open(ctx, o)
		if err == nil {
			t.Fatal(c.Close())
		}
		if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), o.Addrs[0]) || ctx.Err() != nil {
			t.Errorf("%v", err)
		}
		cancel()
	}
}
