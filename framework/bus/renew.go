package bus

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// NewEpochs gives all shards, and so every room's history, another epoch. It is for a store that
// may have lost its last changes: offsets that clients have seen are then used for other messages,
// and only another epoch shows that. It must be called before the first Start.
func NewEpochs(ctx context.Context, client redis.UniversalClient, prefix string) error {
	pattern := globEscape.Replace(prefix+"WEBSOCKET_BUS:") + "*:EPOCH"
	keys, err := client.Keys(ctx, pattern).Result()
	if err != nil {
		return fmt.Errorf("list the shards of histories: %w", err)
	}
	for _, key := range keys {
		if err := client.HSet(ctx, key, "epoch", rand.Text()[:10]).Err(); err != nil {
			return fmt.Errorf("renew the epochs of histories: %w", err)
		}
	}
	return nil
}

var globEscape = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`, `\`, `\\`)
