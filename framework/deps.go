package framework

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"gorm.io/gorm"

	"wsframe/framework/auth"
)

// TypeWechatUser and TypeWall are the user types of the original; a token may carry others.
const (
	TypeWechatUser = auth.TypeWechatUser
	TypeWall       = "wall"
)

// Deps is what controllers are made of. All of it is safe for concurrent use.
type Deps struct {
	DB     *gorm.DB
	Redis  redis.UniversalClient
	Prefix string // of every Redis key, also of the application's keys
	Log    *zap.Logger

	// Metrics registers collectors of the application. GET /metrics of the push port shows them
	// beside the framework's, whose names begin with wsframe_ (and go_goroutines). Each worker has
	// a registry of its own.
	Metrics prometheus.Registerer
}

// Stores are the framework's own Redis clients; nil means Deps.Redis. A command of the application
// that blocks its client, such as BLPOP, must not delay this node's lease or the bus.
type Stores struct {
	Cluster redis.UniversalClient // bookkeeping and the lease
	Bus     redis.UniversalClient // streams and histories; four goroutines block in it, one more while a question is open
}
