package console

import (
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"runtime/debug"
	"strings"
)

// showVersion prints the versions of the program and of what it was built with.
func showVersion(p Program, w io.Writer) error {
	name, revision := "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		name = info.Main.Path
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	framework := p.framework()
	if name == "" || name == "wsframe" {
		name = "console"
	}
	fmt.Fprintln(w, name, p.Version)
	if framework != "" {
		fmt.Fprintln(w, "wsframe", framework)
	}
	if revision != "" {
		fmt.Fprintln(w, "revision", revision)
	}
	fmt.Fprintf(w, "%s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// framework returns the framework's version, or "" where the program has no sources of it.
func (p Program) framework() string {
	if p.Sources == nil {
		return ""
	}
	b, err := fs.ReadFile(p.Sources, "VERSION")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
