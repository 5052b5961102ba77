package console

import (
	"context"
	"io"

	"wsframe/framework"
)

// showTypes prints what clients can rely on, without a server: a TypeScript declaration, or an
// AsyncAPI document.
func showTypes(ctx context.Context, p Program, asyncapi bool, w io.Writer) error {
	return withControllers(ctx, p, func(controllers []framework.Controller) error {
		c, err := framework.Contract(controllers)
		if err != nil {
			return err
		}
		text := []byte(nil)
		if asyncapi {
			text, err = c.AsyncAPI("WebSocket API", p.Version)
		} else {
			text = []byte(c.TypeScript())
		}
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	})
}
