package console

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"wsframe/framework/internal/manual"
)

// serveDocs serves the framework's documents on this machine until ctx ends or Ctrl-C is pressed.
func serveDocs(ctx context.Context, p Program, port int, out *output) error {
	if p.Sources == nil {
		return errors.New("this program carries no documents: its public/console.go does not name them (Sources: wsframe.Sources)")
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: manual.Handler(p.Sources), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	fmt.Fprintf(out.out, "the documents are on http://%s/ until Ctrl-C\n", l.Addr())
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = server.Close()
		<-ended
		return nil
	}
}
