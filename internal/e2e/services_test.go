//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	_ "github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"database/sql"

	"wsframe/internal/testserver"
	"wsframe/library/encrypt"
)

// service is a program that a test runs on loopback.
func service(t testing.TB, addr, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(wait):
			_ = cmd.Process.Kill()
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out)
		}
	})
	until(t, name+" listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("%s ended:\n%s", name, out)
		default:
		}
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		_ = nc.Close()
		return true
	})
	return cmd
}

func startRedis(t testing.TB) (string, *exec.Cmd) {
	t.Helper()
	port := testserver.FreePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return addr, service(t, addr, "redis-server", "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--appendonly", "no")
}

func onRedis(addr string) []string {
	return []string{"WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_CACHE_MASTER_ADDRS=" + addr, "WSFRAME_CACHE_MASTER_PREFIX=t:"}
}

// leftovers returns the keys of the store except permanent ones of all nodes: the counter, and the
// streams between nodes, whose records of senders expire.
func leftovers(t testing.TB, c *redis.Client) []string {
	t.Helper()
	list, err := c.Keys(context.Background(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list, func(key string) bool {
		switch key = strings.TrimPrefix(key, "t:"); {
		case key == "WSFRAME_FD_NEXT", strings.HasPrefix(key, "WEBSOCKET_BUS:"):
			return true
		default:
			return strings.HasPrefix(key, "WEBSOCKET_SENT:") && c.TTL(context.Background(), "t:"+key).Val() > 0
		}
	})
}

// The bookkeeping in a real Redis follows contract §4, from the first connection to the last key.
func TestRealRedis(t *testing.T) {
	addr, _ := startRedis(t)
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	ctx := context.Background()
	s := start(t, onRedis(addr)...)
	user, wall := dial(t, s.outside, s.token("wechatUser", "u1")), dial(t, s.outside, s.token("wall", "w1"))
	user.send(`{"method":"live.user.join"}`)
	user.want("userJoinSuccess")
	wall.send(`{"method":"live.wall.join"}`)
	wall.want("wallJoinSuccess")
	until(t, "Redis knows", func() bool {
		return c.HLen(ctx, "t:WEBSOCKET_FDINFO").Val() == 2 && c.SCard(ctx, "t:LIVE_USER_ROOM_A").Val() == 1 && c.SCard(ctx, "t:LIVE_WALL_ROOM_A").Val() == 1
	})
	fd := c.HGet(ctx, "t:WEBSOCKET_UIDTOFD", "u1").Val()
	if got := c.SMembers(ctx, "t:WEBSOCKET_FdController_"+fd).Val(); len(got) != 1 || got[0] != "live.user" {
		t.Fatalf("listeners of %s: %v", fd, got)
	}
	if got := c.HGet(ctx, "t:WEBSOCKET_FDINFO", fd).Val(); !strings.Contains(got, `"id":"u1","type":"wechatUser","code":"A","nickname":"小明"`) {
		t.Fatalf("FDINFO: %s", got)
	}
	user.send(`{"method":"live.user.say","say":"审核我"}`)
	user.want("userSaySuccess")
	wall.want("userSayNeedCheck")
	if n := c.HLen(ctx, "t:LIVE_USER_MESSAGE_A").Val(); n != 1 {
		t.Fatalf("%d messages await review", n)
	}
	wall.send(`{"method":"live.wall.clean"}`)
	wall.want("wallCleanSuccess")
	// A killed worker leaves its keys, and the next worker removes them.
	if err := syscall.Kill(s.status().WorkerPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "swept", func() bool {
		return c.HLen(ctx, "t:WEBSOCKET_FDINFO").Val() == 0 && c.SCard(ctx, "t:LIVE_USER_ROOM_A").Val() == 0 && c.HLen(ctx, "t:WEBSOCKET_UIDTOFD").Val() == 0
	})
	for _, key := range leftovers(t, c) { // keys of the living node
		if key != "t:WSFRAME_NODES" && !strings.HasPrefix(key, "t:WSFRAME:{") {
			t.Fatalf("left: %s", key)
		}
	}
	dial(t, s.outside, s.token("wall", "w2"))
	s.ok("-s", "stop")
	if left := leftovers(t, c); len(left) != 0 {
		t.Fatalf("left after stop: %v", left)
	}
}

// A frozen Redis delays nobody, and changes are written when it is back (promise R2). An emptied
// Redis is filled again (promise R3).
func TestRedisFrozenAndEmptied(t *testing.T) {
	addr, cmd := startRedis(t)
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	ctx := context.Background()
	s := start(t, onRedis(addr)...)
	var peers []*peer
	for i := range 20 {
		p := dial(t, s.outside, s.token("wall", fmt.Sprint("w", i)))
		p.send(`{"method":"live.wall.join"}`)
		p.want("wallJoinSuccess")
		peers = append(peers, p)
	}
	until(t, "all known", func() bool { return c.SCard(ctx, "t:LIVE_WALL_ROOM_A").Val() == 20 })
	token := s.token("wall", "late")
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, p := range peers[:10] {
		_ = p.ws.CloseNow()
	}
	late := dial(t, s.outside, token)
	late.send(`{"method":"live.wall.join"}`)
	late.want("wallJoinSuccess")
	for _, p := range peers[10:] {
		p.send(`{}`)
		p.want("执行完成")
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "Redis knows all", func() bool {
		return c.SCard(ctx, "t:LIVE_WALL_ROOM_A").Val() == 11 && c.HLen(ctx, "t:WEBSOCKET_FDINFO").Val() == 11
	})
	if err := c.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(40 * time.Second)
	for c.SCard(ctx, "t:LIVE_WALL_ROOM_A").Val() != 11 || c.HLen(ctx, "t:WEBSOCKET_FDINFO").Val() != 11 {
		if time.Now().After(end) {
			t.Fatalf("an emptied Redis was not filled again: %v", c.Keys(ctx, "*").Val())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// The gorm models work on MariaDB, in a database whose default character set is latin1.
func TestMariaDB(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	install := exec.Command("mariadb-install-db", "--no-defaults", "--user=root", "--auth-root-authentication-method=normal", "--skip-test-db", "--datadir="+data)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	port := testserver.FreePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	service(t, addr, "mariadbd", "--no-defaults", "--user=root", "--datadir="+data, "--socket="+filepath.Join(dir, "s"), "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", port),
		"--pid-file="+filepath.Join(dir, "pid"), "--innodb-buffer-pool-size=32M")
	admin, err := sql.Open("mysql", "root@tcp("+addr+")/")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for _, q := range []string{"CREATE DATABASE wsframe CHARACTER SET latin1", "CREATE USER 'w'@'%' IDENTIFIED BY 'p'", "GRANT ALL ON wsframe.* TO 'w'@'%'"} {
		if _, err := admin.Exec(q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	s := start(t, "WSFRAME_DB_MASTER_DRIVER=mysql", "WSFRAME_DB_MASTER_DSN=w:p@tcp("+addr+")/wsframe?charset=utf8mb4&parseTime=True")
	wall := dial(t, s.outside, s.token("wall", "w1"))
	wall.send(`{"method":"live.wall.say","say":"你好😀'\";--"}`)
	wall.want(`"id":1,"code":"A","nickname":"小明","say":"你好😀'\";--"`)
	wall.send(`{"method":"live.wall.history","type":"wall"}`)
	wall.want("你好😀")
	wall.send(`{"method":"live.wall.recall","id":1}`)
	wall.want("wallRecallSuccess")
	wall.send(`{"method":"live.wall.recall","id":1}`)
	wall.want("wallRecallFail")
	var status int
	if err := admin.QueryRow("SELECT status FROM wsframe.live_wall_message WHERE id = 1").Scan(&status); err != nil || status != 0 {
		t.Fatal(status, err)
	}
	s.ok("-s", "reload") // the table exists already
	if strings.Contains(s.out.String(), "utf8mb4") {
		t.Errorf("a table of our own is warned of:\n%s", s.out)
	}
	for _, q := range []string{"DELETE FROM wsframe.live_wall_message", "ALTER TABLE wsframe.live_wall_message CONVERT TO CHARACTER SET utf8mb3"} {
		if _, err := admin.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	s.ok("-s", "reload")
	until(t, "the table's character set is said", func() bool { return strings.Contains(s.out.String(), "the table live_wall_message is not utf8mb4") })
	bad := prepare(t, "WSFRAME_DB_MASTER_DRIVER=mysql", "WSFRAME_DB_MASTER_DSN=w:s3cret@localhost/wsframe")
	for _, command := range []string{"checkconfig", "start"} {
		if out, errs, code := bad.run("-s", command); code == 0 || !strings.Contains(errs, "master.dsn") || strings.Contains(out+errs, "s3cret") {
			t.Errorf("%s: exit code %d\n%s%s", command, code, out, errs)
		}
	}
}

// Tokens of MSwoole-ws are accepted with auth.key and auth.accept_3des alone. Its published key
// never serves tokens of the current form.
func TestOriginalTokens(t *testing.T) {
	t.Parallel()
	var v struct {
		Key    string
		Tokens []struct{ JSON, Token string }
		Refuse []struct{ Why, Token string }
	}
	if err := json.Unmarshal(copyOf(t, filepath.Join(root, "framework/auth/testdata/mswoole-auth.json")), &v); err != nil || len(v.Tokens) == 0 {
		t.Fatal(err)
	}
	s := start(t, "WSFRAME_APP_AUTH_KEY="+v.Key, "WSFRAME_APP_AUTH_ACCEPT_3DES=true", "WSFRAME_APP_AUTH_LIFETIME=0s", "WSFRAME_APP_AUTH_TYPES_3DES=*") // the tokens were issued in 2023
	for _, note := range []string{"auth.accept_3des is on", "auth.key is published or short", filepath.Join(s.dir, "auth.key")} {
		if !strings.Contains(s.out.String(), note) || !strings.Contains(s.log(), note) {
			t.Errorf("start does not say %q, or the log does not", note)
		}
	}
	for _, row := range v.Tokens {
		p := dial(t, s.outside, row.Token)
		p.send(`{"method":"index"}`)
		p.want("success")
	}
	ours, err := encrypt.NewGCM(v.Key)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := ours.Seal([]byte(v.Tokens[0].JSON))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range append(v.Refuse, struct{ Why, Token string }{"ours by the published key", forged}) {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		_, answer, err := websocket.Dial(ctx, "ws://"+s.outside+"/?auth="+row.Token, nil)
		cancel()
		if err == nil || answer == nil || answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %v", row.Why, err)
		}
	}
	for _, args := range [][]string{{"-s", "token", "-id", "7"}, {"-s", "token", "-id", "7", "-3des"}} {
		lines := strings.Fields(s.ok(args...))
		dial(t, s.outside, lines[len(lines)-1])
	}
}

// Tokens from docs/php/token.php are accepted, in both forms.
func TestPHPTokens(t *testing.T) {
	const key = "a-key-that-php-has-too-0123456789"
	s := start(t, "WSFRAME_APP_AUTH_KEY="+key, "WSFRAME_APP_AUTH_KEY_3DES=marico-websocket", "WSFRAME_APP_AUTH_ACCEPT_3DES=true")
	script := `require $argv[1]; $id = ['id' => '7', 'type' => 'wechatUser', 'code' => 'A', 'nickname' => '小明', 'ctime' => time()];
echo wsframe_token($argv[2], $id), "\n", wsframe_token_3des('marico-websocket', $id), "\n";`
	out, err := exec.Command("php", "-r", script, "--", filepath.Join(root, "docs/php/token.php"), key).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Fields(string(out))
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "w1.") {
		t.Fatalf("%s", out)
	}
	for _, token := range lines {
		p := dial(t, s.outside, token)
		p.send(`{"method":"live.user.join"}`)
		p.want("userJoinSuccess")
	}
}
