package project

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMake(t *testing.T) {
	dir := newProject(t)
	made, err := Make(MakeOptions{Dir: dir, Subject: "poll.vote"})
	if err != nil || made.Route != "poll.vote.index" || !slices.Equal(made.Files, []string{"app/poll/vote.go", "app/poll/vote_test.go", "app/app.go", "app/testdata/routes.txt"}) {
		t.Fatal(made, err)
	}
	files := tree(t, dir)
	for name, parts := range map[string][]string{
		"app/app.go":              {`	"example.com/shop/app/poll"`, "\t\tframework.Mount(\"poll.vote\", &poll.Vote{}),\n\t}, nil"},
		"app/poll/vote.go":        {"// Package poll is", "type VoteIndexIn struct", "func (*Vote) Index(c *framework.Ctx, in *VoteIndexIn) (*framework.Reply, error)"},
		"app/poll/vote_test.go":   {"func TestVote(", `"example.com/shop/app"`},
		"app/testdata/routes.txt": {"hello.hello.greet *hello.Hello\npoll.vote.index *poll.Vote\n"},
	} {
		for _, part := range parts {
			if !strings.Contains(files[name], part) {
				t.Errorf("%s has no %q:\n%s", name, part, files[name])
			}
		}
	}
	if made, err := Make(MakeOptions{Dir: dir, Subject: "poll.vote"}); err != nil || len(made.Files) != 0 || !maps.Equal(files, tree(t, dir)) {
		t.Error("a second call is no other", made, err)
	}
	if _, err := Make(MakeOptions{Dir: dir, Subject: "poll.ballot.cast", Hooks: "close, OnConnect,guard,message,reload,shutdown,start,stop", Model: true}); err != nil {
		t.Fatal(err)
	}
	files = tree(t, dir)
	for _, name := range []string{"app/poll/ballot.go", "app/poll/ballot_model.go", "app/poll/ballot_test.go"} {
		if _, err := parser.ParseFile(token.NewFileSet(), name, files[name], 0); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(files["app/app.go"], `framework.Mount("poll.ballot", poll.NewBallot(poll.NewBallotTable(d.DB)))`) || strings.Contains(files["app/poll/ballot.go"], "Package poll") {
		t.Error(files["app/app.go"])
	}
	// What was killed before app.go was changed is completed.
	write(t, filepath.Join(dir, "app/app.go"), strings.Replace(files["app/app.go"], "\t\tframework.Mount(\"poll.vote\", &poll.Vote{}),\n", "", 1))
	if made, err := Make(MakeOptions{Dir: dir, Subject: "poll.vote"}); err != nil || !slices.Equal(made.Files, []string{"app/app.go"}) {
		t.Error(made, err)
	}
}

// Every hook, alone and beside all others, with and without a model, is formatted Go.
func TestMakeHooks(t *testing.T) {
	for n := range 1 << len(hookNames) {
		if c := bits.OnesCount(uint(n)); c > 1 && c < len(hookNames)-1 {
			continue
		}
		hooks := map[string]bool{}
		for i, name := range hookNames {
			if n&(1<<i) != 0 {
				hooks[name] = true
			}
		}
		for _, model := range []bool{false, true} {
			files, err := controllerFiles(subject{"poll", "vote", "cast"}, hooks, MakeOptions{Dir: t.TempDir(), Model: model}, "example.com/shop")
			if err != nil {
				t.Fatalf("%v %v: %v", hooks, model, err)
			}
			text := string(files["app/poll/vote.go"])
			if uses := strings.Contains(text, "context.Context"); uses != strings.Contains(text, `"context"`) {
				t.Fatalf("%v %v:\n%s", hooks, model, text)
			}
		}
	}
}

// Names that are none, or that would lead elsewhere, are refused, and nothing is written.
func TestMakeRefusesNames(t *testing.T) {
	dir := newProject(t)
	before := tree(t, filepath.Dir(dir))
	for subject, want := range map[string]string{
		"":                                    "what to make?",
		"poll":                                "the form is module.controller",
		"a.b.c.d":                             "the form is module.controller",
		".":                                   "empty",
		"poll.":                               "empty",
		"../../etc.passwd":                    "the form",
		"..poll":                              "empty",
		"../x.y":                              "the form",
		"/etc/passwd.x":                       "is no name",
		`c:\x.y`:                              "is no name",
		"poll.vote/../../x":                   "the form",
		"a/b.c":                               "is no name",
		"Poll.Vote":                           "poll.vote (clients may write them in any case)",
		"投票.vote":                             "is no name",
		"poll.vöte":                           "is no name",
		"poll.vote\n":                         "is no name",
		"poll.vote\x00":                       "is no name",
		"poll.<script>":                       "is no name",
		"poll.'; DROP TABLE users; --":        "is no name",
		"poll.vote_test":                      "is no name",
		"-x.y":                                "is no name",
		"1x.y":                                "is no name",
		"func.vote":                           "keyword of Go",
		"poll.type":                           "keyword of Go",
		"poll.vote.go":                        "keyword of Go",
		"string.x":                            "predeclared",
		"main.x":                              "meaning of its own",
		"internal.x":                          "meaning of its own",
		"vendor.x":                            "meaning of its own",
		"testdata.x":                          "meaning of its own",
		"con.x":                               "device on Windows",
		"poll.nul":                            "device on Windows",
		"poll.vote.guard":                     "is a hook",
		"index.sys":                           "framework's own",
		"framework.vote":                      "imports wsframe/framework by the name framework",
		"d.vote":                              "uses the name d already",
		"poll." + strings.Repeat("x", 41):     "40 are allowed",
		"hello.hello":                         "app/hello/hello.go exists with another content",
		strings.Repeat("x", 1_000_000) + ".y": "40 are allowed",
	} {
		if _, err := Make(MakeOptions{Dir: dir, Subject: subject}); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 2_000_000 {
			t.Errorf("%.60q: %.200v", subject, err)
		}
	}
	for hooks, want := range map[string]string{"clse": `no hook "clse"`, "close,": `no hook ""`, "close;connect": "no hook"} {
		if _, err := Make(MakeOptions{Dir: dir, Subject: "poll.vote", Hooks: hooks}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", hooks, err)
		}
	}
	if !maps.Equal(before, tree(t, filepath.Dir(dir))) {
		t.Error("something was written")
	}
}

// What was edited by hand is extended where that is clear, and otherwise refused by name.
func TestMakeEdited(t *testing.T) {
	const head = "package app\n\nimport \"wsframe/framework\"\n\n"
	appGo := func(text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { write(t, filepath.Join(dir, "app/app.go"), text) }
	}
	for _, tc := range []struct {
		name string
		edit func(t *testing.T, dir string)
		want string // of the error; "" = it works
	}{
		{"one line", appGo(head + "func Controllers(d framework.Deps) ([]framework.Controller, error) { return []framework.Controller{framework.Mount(\"a\", &A{})}, nil }\n"), ""},
		{"one line with a comma", appGo(head + "func Controllers(d framework.Deps) ([]framework.Controller, error) {\nreturn []framework.Controller{\nframework.Mount(\"a\", &A{}), // the first\n// and no other\n}, nil }\n"), ""},
		{"another name of the framework", appGo("package app\n\nimport (\n\tws \"wsframe/framework\"\n)\n\nfunc Controllers(deps ws.Deps) ([]ws.Controller, error) {\n\tlist := []ws.Controller{}\n\treturn list, nil\n}\n"), ""},
		{"line ends of Windows", appGo(strings.ReplaceAll(head+"// Controllers has a comment.\nfunc Controllers(d framework.Deps) ([]framework.Controller, error) {\n\treturn []framework.Controller{}, nil\n}\n", "\n", "\r\n")), ""},
		{"wrapped", appGo(head + "func Controllers(d framework.Deps) ([]framework.Controller, error) {\n\treturn []framework.Controller{framework.Inline(framework.Mount(\"Poll.Vote\", vote))}, nil\n}\n"), `app/app.go:6 mounts "poll.vote" already, as framework.Mount("Poll.Vote", vote)`},
		{"does not compile", appGo(head + "func Controllers("), "app/app.go:5"},
		{"empty", appGo(""), "app/app.go:1"},
		{"no function", appGo(head), "has no function Controllers"},
		{"a method", appGo(head + "type X struct{}\nfunc (X) Controllers() {}\n"), "has no function Controllers"},
		{"no list", appGo(head + "func Controllers(d framework.Deps) (list []framework.Controller, err error) { return append(list, more()...), nil }\n"), "has 0 lists []framework.Controller{…}"},
		{"two lists", appGo(head + "func Controllers(d framework.Deps) ([]framework.Controller, error) { if x { return []framework.Controller{}, nil }; return []framework.Controller{}, nil }\n"), "has 2 lists"},
		{"no import", appGo("package app\n\nfunc Controllers() {}\n"), "does not import wsframe/framework"},
		{"dot import", appGo("package app\n\nimport . \"wsframe/framework\"\n\nfunc Controllers(d Deps) ([]Controller, error) { return nil, nil }\n"), "by a name"},
		{"the name means another package", appGo("package app\n\nimport (\n\t\"example.org/poll\"\n\t\"wsframe/framework\"\n)\n\nfunc Controllers(d framework.Deps) ([]framework.Controller, error) { poll.X(); return []framework.Controller{}, nil }\n"), "app/app.go:4 imports example.org/poll by the name poll"},
		{"the name is a variable", appGo(head + "func Controllers(d framework.Deps) ([]framework.Controller, error) { poll := 1; _ = poll; return []framework.Controller{}, nil }\n"), "app/app.go:5 uses the name poll already"},
		{"missing", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "app/app.go")) }, "there is no app/app.go"},
		{"a folder", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "app/app.go"))
			write(t, filepath.Join(dir, "app/app.go/x"), "")
		}, "app.go"},
		{"no go.mod", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "go.mod")) }, "there is no go.mod here"},
		{"broken go.mod", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "go.mod"), "modul x") }, "go.mod"},
		{"a file of another content", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "app/poll/vote.go"), "package poll\n") }, "app/poll/vote.go exists with another content"},
		{"a type of another file", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "app/poll/types.go"), "package poll\n\ntype Vote int\n")
		}, "app/poll/types.go declares Vote already"},
		{"a test of another file", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "app/poll/x_test.go"), "package poll_test\n\nfunc TestVote() {}\n")
		}, "app/poll/x_test.go declares poll_test.TestVote already"},
		{"another package", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "app/poll/x.go"), "package polls\n") }, "app/poll/x.go is of the package polls"},
		{"a file instead of the module", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "app/poll"), "") }, "app/poll exists, and is no folder"},
		{"a link instead of the module", func(t *testing.T, dir string) {
			if err := os.Symlink("/tmp", filepath.Join(dir, "app/poll")); err != nil {
				t.Fatal(err)
			}
		}, "app/poll exists, and is no folder"},
		{"no routes", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "app/testdata")) }, ""},
	} {
		dir := newProject(t)
		tc.edit(t, dir)
		before := tree(t, dir)
		made, err := Make(MakeOptions{Dir: dir, Subject: "poll.vote"})
		if tc.want != "" {
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v", tc.name, err)
			}
			if !maps.Equal(before, tree(t, dir)) {
				t.Errorf("%s: something was written", tc.name)
			}
			continue
		}
		text := tree(t, dir)["app/app.go"]
		if f, bad := parseAppFile("app.go", []byte(text)); err != nil || bad != nil {
			t.Errorf("%s: %v %v", tc.name, err, bad)
		} else if _, where := f.mounted("poll.vote"); where == "" || f.importName("example.com/shop/app/poll") != "poll" {
			t.Errorf("%s:\n%s", tc.name, text)
		}
		if tc.name == "no routes" != (made.Note != "") {
			t.Errorf("%s: %s", tc.name, made.Note)
		}
		if again, err := Make(MakeOptions{Dir: dir, Subject: "poll.vote"}); err != nil || len(again.Files) > 0 {
			t.Errorf("%s, a second time: %v %v", tc.name, again, err)
		}
	}
}

// A table needs the parameter of Controllers.
func TestMakeModelNeedsDeps(t *testing.T) {
	dir := newProject(t)
	write(t, filepath.Join(dir, "app/app.go"), "package app\n\nimport \"wsframe/framework\"\n\nfunc Controllers(framework.Deps) ([]framework.Controller, error) { return []framework.Controller{}, nil }\n")
	if _, err := Make(MakeOptions{Dir: dir, Subject: "poll.vote", Model: true}); err == nil || !strings.Contains(err.Error(), "Controllers has no name for its parameter") {
		t.Error(err)
	}
}

// An error in the middle leaves nothing.
func TestMakeUndoes(t *testing.T) {
	dir := newProject(t)
	before := tree(t, dir)
	made := &Made{}
	files := newFiles{"app/poll/vote.go": []byte("package poll\n")}
	err := writeMade(dir, files, map[string][]byte{"app/app.go": []byte("x"), "app/zzz/missing": []byte("x")}, made)
	if !errors.Is(err, os.ErrNotExist) || len(made.Files) > 0 || !maps.Equal(before, tree(t, dir)) {
		t.Error(err, fmt.Sprint(made))
	}
}
