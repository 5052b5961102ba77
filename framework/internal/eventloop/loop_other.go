//go:build !linux

package eventloop

import "errors"

// Loop exists on Linux only.
type Loop[S any] struct{}

// Runner is the goroutine that runs a loop.
type Runner struct{}

// New returns errors.ErrUnsupported.
func New[S any](Calls[S]) (*Loop[S], error) {
	return nil, errors.ErrUnsupported
}

// Add is never called, since there is no loop.
func (l *Loop[S]) Add(int, *S) (Key, error) { return Key{}, errors.ErrUnsupported }

// Remove is never called, since there is no loop.
func (l *Loop[S]) Remove(int, Key) {}

// Close is never called, since there is no loop.
func (l *Loop[S]) Close() {}

// Begin is never called, since there is no loop.
func (r *Runner) Begin() {}

// Lost is never called, since there is no loop.
func (r *Runner) Lost() bool { return false }
