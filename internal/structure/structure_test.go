// Package structure holds the rules that the tree keeps: who may import whom, and that every package says what it is for.
package structure

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath string
	Doc        string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Imports", "wsframe/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 15 {
		t.Fatalf("only %d packages were found", len(list))
	}
	return list
}

// layers are what the packages stand on, the lowest first: each imports only from lines above its own. docs/architecture.md draws
// them. A name stands for what is below it, too, unless that has a line of its own.
var layers = strings.Split(strings.TrimSpace(`
wsframe
library/db library/encrypt library/log library/packed library/phpserialize library/socket
library/cache/snapshot
library/cache library/config
framework/internal/backoff framework/internal/contract framework/internal/question framework/internal/lograte framework/internal/ijson
framework/internal/project framework/internal/manual
framework/internal/backoff framework/internal/contract framework/internal/question framework/internal/stream framework/internal/lograte framework/internal/ijson
framework/internal/project
framework/internal/names framework/internal/wire framework/internal/eventloop framework/internal/flatjson
framework/auth framework/frame framework/gateway framework/socketio
framework/api
framework/internal/tally
framework/internal/accept
framework/internal/credentials
framework/bus framework/internal/cluster framework/internal/inbox
framework/internal/room
framework/internal/hub
framework/internal/envelope
framework/internal/link
framework/internal/ask
framework/internal/nodetest
framework/internal/directory
framework/internal/history
framework/internal/session
framework/internal/clients framework/internal/closing framework/internal/isolation framework/internal/pages framework/internal/presence framework/internal/publish framework/internal/roomsync
framework/internal/reload
framework
framework/manager framework/push
framework/process
framework/internal/boot
framework/console framework/frameworktest
app
public
internal
`), "\n")

// apart are layers that stand on a lower one and do not import it all the same: they know the framework by interfaces of their own.
var apart = map[string][]string{
	"framework/manager": {"framework", "framework/hub", "framework/internal/cluster", "framework/bus"},
	"framework/push":    {"framework", "framework/hub", "framework/internal/cluster", "framework/bus"},
	"framework/process": {"framework", "framework/hub", "framework/internal/cluster", "framework/bus"},
	"app":               {"framework/hub", "framework/internal/cluster", "framework/bus", "framework/process", "framework/manager"},
	"public":            {"framework/internal/hub", "framework/internal/cluster", "framework/bus", "framework/process", "framework/manager", "library/config", "library/cache", "library/db"},
}

// place is the line of layers that a package stands in, and the name there: the longest that fits.
func place(path string) (line int, name string) {
	for i, names := range layers {
		for _, one := range strings.Fields(names) {
			if (path == one || strings.HasPrefix(path, one+"/")) && len(one) > len(name) {
				line, name = i, one
			}
		}
	}
	return line, name
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, "wsframe/")
		line, from := place(path)
		if from == "" {
			t.Errorf("%s stands in no layer", path)
			continue
		}
		for _, imported := range p.Imports {
			imported, ours := strings.CutPrefix(imported, "wsframe/")
			if !ours {
				continue
			}
			below, to := place(imported)
			if to == "" || to != from && (below >= line || slices.Contains(apart[from], to)) {
				t.Errorf("%s imports %s", path, imported)
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.Doc) < 30 && !strings.HasPrefix(p.ImportPath, "wsframe/internal/") {
			t.Errorf("%s does not say what it is for", p.ImportPath)
		}
	}
}

// The picture of the layers in docs/architecture.md has each package of framework, by its last name.
func TestLayersAreDrawn(t *testing.T) {
	text := documents(t)["docs/architecture.md"]
	_, text, _ = strings.Cut(text, "## Layers")
	text, _, _ = strings.Cut(text, "\n## ")
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, "wsframe/")
		name := path[strings.LastIndex(path, "/")+1:]
		if _, below, _ := strings.Cut(path, "/internal/"); !strings.HasPrefix(path, "framework/") || strings.Contains(below, "/") {
			continue // a part of a package
		}
		if !strings.Contains(text, "/"+name+"/ ") && !strings.Contains(text, "\n  "+name+"/ ") {
			t.Errorf("docs/architecture.md does not draw %s", path)
		}
	}
}
