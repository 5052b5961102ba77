package cache

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// passing are words of errors after which a repetition may succeed.
var passing = []string{
	"READONLY", "OOM", "MISCONF", "NOREPLICAS", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "max number of clients",
}

// Full reports whether Redis answered that it has no memory for a command. It still executes
// commands that need none.
func Full(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && strings.Contains(reply.Error(), "OOM ")
}

// Final reports whether Redis answered that it will never execute a command. Other errors are
// temporary: Redis loads its data, has no memory, no master, no quorum, or too many clients. Redis
// before 7.0 wraps the error of a script's command: "ERR Error running script …: -READONLY …".
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
