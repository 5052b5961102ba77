package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"time"

	"wsframe/framework/internal/backoff"
)

const (
	signInTime = 5 * time.Second  // for a Register to accept the connection
	signInPing = 25 * time.Second // between signs of life
)

// SignIn keeps an address listed at a Register of another process until ctx ends. The Register
// lists it as long as the connection lives, so SignIn connects again whenever it ends. failed is
// called with the error of each try that fails.
func SignIn(ctx context.Context, register, address, secret string, failed func(error)) {
	pause := backoff.Backoff{Min: time.Second, Max: 30 * time.Second}
	for ctx.Err() == nil {
		begun := time.Now()
		err := signIn(ctx, register, address, secret)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > signInPing {
			pause.Reset()
		}
		failed(err)
		pause.Wait(ctx.Done())
	}
}

// signIn signs in once, and returns when the connection has ended.
func signIn(ctx context.Context, register, address, secret string) error {
	dialer := net.Dialer{Timeout: signInTime}
	conn, err := dialer.DialContext(ctx, "tcp", register)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	line, err := json.Marshal(map[string]string{"event": "gateway_connect", "address": address, "secret_key": secret})
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn) // a Register sends nothing to a gateway
		if err == nil {
			err = io.EOF
		}
		ended <- err
	}()
	tick := time.NewTicker(signInPing)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			if _, err := conn.Write([]byte("{\"event\":\"ping\"}\n")); err != nil {
				_ = conn.Close()
				return <-ended
			}
		}
	}
}
