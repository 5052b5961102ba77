//go:build e2e

package e2e

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"wsframe/internal/testserver"
)

// Behind a Sentinel, the Redis master dies and its replica takes over. No connection is lost, and
// changes during the failover are written to the new master.
func TestSentinelFailover(t *testing.T) {
	master := testserver.StartRedis(t)
	replica := testserver.StartReplica(t, master)
	sentinel := testserver.StartSentinel(t, master)
	ctx := context.Background()
	watch := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr})
	defer watch.Close()
	until(t, "the sentinel knows the replica", func() bool {
		list, err := watch.Replicas(ctx, testserver.SentinelMaster).Result()
		return err == nil && len(list) == 1
	})
	s := start(t, "WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_CACHE_MASTER_ADDRS="+sentinel.Addr, "WSFRAME_CACHE_MASTER_SENTINEL_MASTER="+testserver.SentinelMaster,
		"WSFRAME_CACHE_MASTER_PASSWORD="+master.Password, "WSFRAME_CACHE_MASTER_PREFIX=t:")
	stays, goes := dial(t, s.outside, s.token("wechatUser", "u1")), dial(t, s.outside, s.token("wechatUser", "u2"))
	for _, c := range []*peer{stays, goes} {
		c.send(`{"method":"live.user.join"}`)
		c.want("userJoinSuccess")
	}
	after := redis.NewClient(&redis.Options{Addr: replica.Addr, Password: replica.Password})
	defer after.Close()
	members := func() int64 { return after.SCard(ctx, "t:LIVE_USER_ROOM_A").Val() }
	until(t, "the replica has both", func() bool { return members() == 2 })
	master.Kill()
	_ = goes.ws.CloseNow()
	stays.send(`{"method":"index.index.index"}`) // this client must be served
	stays.want("success")
	until(t, "the replica is the master", func() bool {
		role, err := after.Do(ctx, "ROLE").Slice()
		return err == nil && len(role) > 0 && role[0] == "master"
	})
	until(t, "the new master has what happened meanwhile", func() bool { return members() == 1 && after.HLen(ctx, "t:WEBSOCKET_FDINFO").Val() == 1 })
	wall := dial(t, s.outside, s.token("wall", "w1"))
	wall.send(`{"method":"live.wall.join"}`)
	wall.want("wallJoinSuccess")
	stays.send(`{"method":"index.index.index"}`)
	stays.want("success")
}
