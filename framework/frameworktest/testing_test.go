package frameworktest_test

import (
	"os"
	"slices"
	"testing"
)

// exampleT takes the place of the *testing.T that an Example does not have.
type exampleT struct {
	testing.TB
	ends []func()
}

func (t *exampleT) Helper()                   {}
func (t *exampleT) Name() string              { return "Example" }
func (t *exampleT) Failed() bool              { return false }
func (t *exampleT) Log(...any)                {}
func (t *exampleT) Logf(string, ...any)       {}
func (t *exampleT) Cleanup(f func())          { t.ends = append(t.ends, f) }
func (t *exampleT) Fatal(args ...any)         { panic(args) }
func (t *exampleT) Fatalf(_ string, a ...any) { panic(a) }
func (t *exampleT) Errorf(_ string, a ...any) { panic(a) }

func (t *exampleT) TempDir() string {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// end does what the end of a test does.
func (t *exampleT) end() {
	for _, f := range slices.Backward(t.ends) {
		f()
	}
}
