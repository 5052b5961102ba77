package cache

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// passing are the words of answers that will not stay.
var passing = []string{
	"READONLY", "OOM", "MISCONF", "NOREPLICAS", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "max number of clients",
}

// Full tells whether Redis answered that it has no memory for a command. It goes on taking those that need none.
func Full(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && strings.Contains(reply.Error(), "OOM ")
}

// Final tells whether Redis answered that it will never take a command. Everything else passes: it
// loads its data, is out of memory, has no master, no quorum, too many clients. A Redis before 7.0
// wraps what a script was answered: "ERR Error running script …: -READONLY …".
func Final(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	text := reply.Error()
	for _, word := range passing {
		if strings.Contains(text, word) {
			return false
		}
	}
	return strings.HasPrefix(text, "WRONGTYPE") || strings.HasPrefix(text, "NOPERM") || strings.HasPrefix(text, "ERR ")
}
