// Package app replaces the application in tests of reloads: go build's -overlay puts this file, or
// a changed one, in place of app/app.go.
package app

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"wsframe/framework"
)

// Controllers mounts the controllers that a reload changes.
func Controllers(framework.Deps) ([]framework.Controller, error) {
	return []framework.Controller{
		framework.Mount("desk.clerk", &Clerk{}),
		framework.Mount("desk.first", &First{}),
		framework.Mount("desk.porter", &Porter{}),
	}, nil
}

// Clerk replies differently after a reload.
type Clerk struct{}

// Ask returns which code runs.
func (*Clerk) Ask(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("answer", "", "the first code"), nil
}

// First has a route that the next code lacks.
type First struct{}

// Only is the route that the next code lacks.
func (*First) Only(c *framework.Ctx) (*framework.Reply, error) { return framework.OK("only", ""), nil }

// Porter is another type in the next code.
type Porter struct{}

// Open exists in both programs.
func (*Porter) Open(c *framework.Ctx) (*framework.Reply, error) { return framework.OK("open", ""), nil }

// Shout prints more than a pipe holds, to both streams, and fails, which is logged.
func (*Clerk) Shout(c *framework.Ctx) (*framework.Reply, error) {
	line := strings.Repeat("shouted ", 128)
	for range 100 {
		fmt.Println(line)
		fmt.Fprintln(os.Stderr, line)
	}
	return nil, errors.New(line)
}

// TellIn says how long a story is to be.
type TellIn struct {
	Parts int `json:"parts" validate:"min=1"`
}

// Tell streams a story over some time.
func (*Clerk) Tell(c *framework.Ctx, in *TellIn) (*framework.StreamOut, error) {
	return framework.Stream(c, func(w *framework.StreamWriter) error {
		for i := range in.Parts {
			if _, err := fmt.Fprintf(w, "part %d 第%d部分；", i, i); err != nil {
				return err
			}
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	})
}
