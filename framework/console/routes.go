package console

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework"
	"wsframe/framework/internal/boot"
	"wsframe/framework/process"
	"wsframe/library/db"
)

// showRoutes prints what clients can call, without a server.
func showRoutes(ctx context.Context, p Program, w io.Writer) error {
	return withControllers(ctx, p, func(controllers []framework.Controller) error {
		list, err := framework.Routes(controllers)
		if err != nil {
			return err
		}
		printRoutes(w, boot.Routes(list))
		return nil
	})
}

// withControllers calls f with the program's controllers, which get an empty database and a store
// that is not reached.
func withControllers(ctx context.Context, p Program, f func([]framework.Controller) error) error {
	dir, err := os.MkdirTemp("", "wsframe-routes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	orm, err := db.Open(ctx, db.Options{Driver: "sqlite", DSN: filepath.Join(dir, "routes.db")})
	if err != nil {
		return err
	}
	defer db.Close(orm)
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:0"})
	defer client.Close()
	controllers, err := p.Controllers(framework.Deps{DB: orm, Redis: client, Log: zap.NewNop(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		return err
	}
	return f(controllers)
}

func printRoutes(out io.Writer, routes []process.Route) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range routes {
		fmt.Fprintf(w, "%s\t%s", r.Method, strings.TrimPrefix(r.Controller, "*"))
		if r.Pace != "" {
			fmt.Fprintf(w, "\t%s", r.Pace)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // output that cannot be written has no reader
}
