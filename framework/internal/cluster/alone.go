package cluster

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// TakeOver prepares a store that belongs to one node alone, before any process of the node runs.
//
// Connections that processes with other node ids have left behind, before a move of the runtime
// directory or in another container, become leftovers of this node, which its first worker cleans
// up. Claims of ended processes are removed, except for those that mark notified listeners.
// TakeOver reads all keys at once.
func TakeOver(ctx context.Context, client redis.UniversalClient, prefix, nodeID string) error {
	k := keys{prefix}
	own := k.own(member{node: nodeID}, "")
	begin := prefix + "WSFRAME:{"
	names, err := client.Keys(ctx, globEscape.Replace(begin)+"*").Result()
	if err != nil {
		return fmt.Errorf("look for what earlier processes left: %w", err)
	}
	_, err = client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for _, name := range names {
			tag, what, _ := strings.Cut(name[len(begin):], "}:")
			other := begin+tag+"}:" != own
			if err := takeOver(ctx, client, p, name, what, own+what, other); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take over what earlier processes left: %w", err)
	}
	return nil
}

func takeOver(ctx context.Context, client redis.UniversalClient, p redis.Pipeliner, name, what, own string, other bool) error {
	switch {
	case what == "SWEEP":
		p.Del(ctx, name)
	case strings.HasPrefix(what, "CLAIM:"):
		owner, err := client.Get(ctx, name).Result()
		if err != nil && err != redis.Nil {
			return err
		}
		if other && owner == ran {
			p.Set(ctx, own, ran, deadTime)
		}
		if other || owner != ran {
			p.Del(ctx, name)
		}
	case what == "FDS" && other:
		fds, err := client.SMembers(ctx, name).Result()
		if err != nil {
			return err
		}
		for _, fd := range fds {
			p.SAdd(ctx, own, fd)
		}
		p.Del(ctx, name)
	}
	return nil
}

var globEscape = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`, `\`, `\\`)
