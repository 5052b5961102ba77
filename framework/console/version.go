package console

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// showVersion prints the versions of the program and of what it was built with.
func showVersion(p Program, w io.Writer) error {
	fmt.Fprintln(w, "wsframe", p.Version)
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path != "" {
		fmt.Fprintln(w, "module", info.Main.Path)
	}
	fmt.Fprintf(w, "built with %s for %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
