package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework/push"
)

// stage holds nodes with a controller of the benchmark, and their Redis if they share one.
type stage struct {
	nodes []*process
	redis *process
	store *redis.Client
}

// build builds the console with the controller once.
func (b *bench) build() (string, error) {
	if b.built != "" {
		return b.built, nil
	}
	root, err := checkout()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "wsframe-bench-")
	if err != nil {
		return "", err
	}
	b.built = filepath.Join(dir, "console")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(root, "app/app.go"): filepath.Join(root, "internal/bench/testdata/stage/app.go"),
	}})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-overlay", file, "-o", b.built, "./public")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the console: %w\n%s", err, out)
	}
	return b.built, nil
}

// checkout returns the directory of the server's module, which contains this module.
func checkout() (string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "wsframe").Output()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	return strings.TrimSpace(string(dir)), nil
}

// clean removes the built console.
func (b *bench) clean() {
	if b.built != "" {
		_ = os.RemoveAll(filepath.Dir(b.built))
	}
}

// stage starts one node with its embedded store, or several with one Redis.
func (b *bench) stage(nodes int, env ...string) (_ *stage, err error) {
	binary, err := b.build()
	if err != nil {
		return nil, err
	}
	s := &stage{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	env = append([]string{"WSFRAME_APP_DEMO=false"}, env...)
	if nodes > 1 {
		env = append(env, "WSFRAME_CACHE_MASTER_TIMEOUT=5s") // calls that a busy machine delays are not repeated
		if s.redis, err = startRedis(); err != nil {
			return nil, err
		}
		s.store = redis.NewClient(&redis.Options{Addr: s.redis.addr, DisableIdentity: true})
		env = append(env, "WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_CACHE_MASTER_ADDRS="+s.redis.addr)
	}
	c := b.cores
	if nodes > 1 {
		c = cores{} // they and Redis need the machine
	}
	for range nodes {
		p, err := startConsole(binary, false, c, env...)
		if err != nil {
			return nil, err
		}
		s.nodes = append(s.nodes, p)
	}
	return s, nil
}

func (s *stage) stop() {
	for _, p := range s.nodes {
		p.stop()
	}
	if s.redis != nil {
		_ = s.store.Close()
		s.redis.stop()
	}
}

// cpu returns the CPU time of all workers, in microseconds.
func (s *stage) cpu() (total float64) {
	for _, p := range s.nodes {
		total += p.cpu()
	}
	return total
}

// commands returns the number of calls of each Redis command, including those in scripts.
func (s *stage) commands() (map[string]float64, error) {
	text, err := s.store.Info(context.Background(), "commandstats").Result()
	if err != nil {
		return nil, err
	}
	calls := map[string]float64{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, ",")
		calls[name], _ = strconv.ParseFloat(number, 64)
	}
	return calls, nil
}

// traffic holds the cost of publishes in Redis.
type traffic struct{ scripts, entries, reads, cpu []float64 }

// counted measures what run costs Redis for each of count publishes.
func (s *stage) counted(t *traffic, count int, run func() error) error {
	if s.redis == nil {
		return run()
	}
	before, err := s.commands()
	if err != nil {
		return err
	}
	used := s.redis.cpu()
	if err := run(); err != nil {
		return err
	}
	used = s.redis.cpu() - used
	after, err := s.commands()
	if err != nil {
		return err
	}
	each := func(names ...string) (n float64) {
		for _, name := range names {
			n += after[name] - before[name]
		}
		return n / float64(count)
	}
	t.scripts = append(t.scripts, each("evalsha", "eval"))
	t.entries = append(t.entries, each("xadd"))
	t.reads = append(t.reads, each("xread"))
	t.cpu = append(t.cpu, used/float64(count))
	return nil
}

func (t *traffic) print() {
	if len(t.cpu) > 0 {
		fmt.Printf("    Redis, its other work included, for each publish: %.3f calls that write, %.2f entries of streams in them, %.3f reads by all nodes, %.1f µs CPU\n",
			median(t.scripts), median(t.entries), median(t.reads), median(t.cpu))
	}
}

// bare writes the same number of entries to Redis from a client that does nothing else.
func (s *stage) bare(count, size int) (time.Duration, error) {
	const batch = 256
	ctx := context.Background()
	body := strings.Repeat("x", size)
	begun := time.Now()
	for left := count; left > 0; left -= batch {
		pipe := s.store.Pipeline()
		for range min(batch, left) {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: "bare", MaxLen: 100_000, Approx: true, Values: []string{"b", body}})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}

// list reads all pages, checks their order, and returns the number of members.
func (s *stage) list(room string) (int, error) {
	const page = 1000
	client, err := push.NewClient(s.nodes[0].push, "")
	if err != nil {
		return 0, err
	}
	defer client.HTTP.CloseIdleConnections()
	var after int64
	for n := 0; ; {
		var answer struct{ Items []push.Connection }
		if err := client.Call(context.Background(), "roomMembers", map[string]any{"room": room, "after": after, "limit": page}, &answer); err != nil {
			return n, err
		}
		for _, c := range answer.Items {
			if c.FD <= after {
				return n, errors.New("the list is not in order")
			}
			after = c.FD
		}
		if n += len(answer.Items); len(answer.Items) < page {
			return n, nil
		}
	}
}
