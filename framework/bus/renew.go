package bus

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// NewEpochs gives every room's history another epoch. It is for a store that may have lost its last
// moments: offsets which clients have seen are then given to other messages, and only another epoch
// tells a client so. It must be called before anybody reads or writes. It reads all keys at once.
func NewEpochs(ctx context.Context, client redis.UniversalClient, prefix string) error {
	pattern := globEscape.Replace(prefix+"WEBSOCKET_OFFSET:") + "*"
	keys, err := client.Keys(ctx, pattern).Result()
	if err != nil {
		return fmt.Errorf("list the rooms with a history: %w", err)
	}
	for chunk := range slices.Chunk(keys, 1000) {
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, key := range chunk {
				p.HSet(ctx, key, "epoch", rand.Text()[:13])
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("renew the epochs of histories: %w", err)
		}
	}
	return nil
}

var globEscape = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`, `\`, `\\`)
