package console

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"wsframe/framework"
	"wsframe/framework/auth"
)

type greeter struct{}

func (*greeter) Greet(*framework.Ctx) (*framework.Reply, error) {
	return framework.OK("hello", ""), nil
}

// call runs the command in an empty directory, with a configuration of env alone.
func call(t *testing.T, p Program, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if p.Controllers == nil {
		p.Controllers = func(framework.Deps) ([]framework.Controller, error) {
			return []framework.Controller{framework.Mount("hello.hello", &greeter{})}, nil
		}
	}
	dir := t.TempDir()
	t.Chdir(dir)
	var out, err strings.Builder
	code = Run(context.Background(), p, args, append(env, "WSFRAME_APP_RUNTIME_DIR="+filepath.Join(dir, "runtime")), &out, &err)
	return code, out.String(), err.String()
}

func TestCommandLine(t *testing.T) {
	for _, tc := range []struct {
		args   []string
		code   int
		stdout string // patterns
		stderr string
	}{
		{[]string{"help"}, 0, `(?s)^console COMMAND.*\n  start \[-d\] +start the server`, `^$`},
		{[]string{"-help"}, 0, `^console COMMAND`, `^$`},
		{[]string{"-h"}, 0, `^console COMMAND`, `^$`},
		{[]string{"help", "reload"}, 0, `(?s)^console reload \[-check\]\n\nReplace .*\n  -check +only .*\n  -h host`, `^$`},
		{[]string{"reload", "--help"}, 0, `^console reload `, `^$`},
		{[]string{"-s", "reload", "-h"}, 0, `^console reload `, `^$`},
		{[]string{"help", "relod"}, 1, `^$`, `unknown command "relod"; did you mean console reload\?`},
		{[]string{"version"}, 0, `^console 1\.2\.3\n(?s:.*)go1\.`, `^$`},
		{[]string{"--version"}, 0, `^console 1\.2\.3\n(?s:.*)go1\.`, `^$`},
		{nil, 2, `^$`, `what to do\? console start`},
		{[]string{"strat"}, 2, `^$`, `unknown command "strat"; did you mean console start\?`},
		{[]string{"-s", "strat"}, 2, `^$`, `unknown command "strat"; did you mean console start\?`},
		{[]string{"-s", "zzz"}, 2, `^$`, `unknown command "zzz"; console help shows all`},
		{[]string{"-s", "status", "now"}, 2, `^$`, `unexpected "now"; see console help status`},
		{[]string{"status", "--jsn"}, 2, `^$`, `unknown option -jsn; did you mean -json\?`},
		{[]string{"-s", "start", "-x"}, 2, `^$`, `unknown option -x; see console help start`},
		{[]string{"status", "-g"}, 2, `^$`, `status does not take -g; see console help status`},
		{[]string{"help", "new"}, 0, `^console new DIR [^§]*\n  -demo [^\n]*\n$`, `^$`},
		{[]string{"help", "version"}, 0, `^console version\n\nThe versions [^\n]*\n$`, `^$`},
		{[]string{"docs"}, 1, `^$`, `carries no documents`},
		{[]string{"new", "x"}, 1, `^$`, `carries no sources`},
		{[]string{"upgrade"}, 1, `^$`, `carries no sources`},
		{[]string{"make", "poll.vote"}, 1, `^$`, `there is no go.mod here.*nothing was changed`},
		{[]string{"make", "-i", "poll", "-hook", "close"}, 1, `^$`, `the form is module.controller`},
		{[]string{"completion", "bash"}, 0, `complete -o default -F _console console`, `^$`},
		{[]string{"completion", "zsh"}, 0, `^#compdef console`, `^$`},
		{[]string{"completion", "fish"}, 0, `(?m)^complete -c console .* -a start -d `, `^$`},
		{[]string{"completion", "sh"}, 1, `^$`, `bash, zsh and fish`},
		{[]string{"-s", "say"}, 1, `^$`, `what to say\? console -s say -i TEXT`},
		{[]string{"-s", "token"}, 1, `^$`, `whose token\?`},
		{[]string{"-s", "start", "-c", "nowhere"}, 1, `^$`, `^console: config directory: .*nowhere`},
		{[]string{"start", "--c=nowhere"}, 1, `^$`, `^console: config directory: .*nowhere`},
		{[]string{"-c", "nowhere", "start"}, 1, `^$`, `^console: config directory: .*nowhere`},
		{[]string{"-s", "routes"}, 0, `^hello\.hello\.greet +console\.greeter\n`, `^$`},
		{[]string{"-s", "checkconfig"}, 0, `(?s)port.*the configuration is valid\n$`, `^$`},
	} {
		code, stdout, stderr := call(t, Program{Version: "1.2.3"}, nil, tc.args...)
		if code != tc.code || !regexp.MustCompile(tc.stdout).MatchString(stdout) || !regexp.MustCompile(tc.stderr).MatchString(stderr) {
			t.Errorf("%q: exit code %d\n%s\n%s", tc.args, code, stdout, stderr)
		}
	}
}

// A wrong setting is one line, and the command has failed.
func TestBadConfig(t *testing.T) {
	code, stdout, stderr := call(t, Program{}, []string{"WSFRAME_APP_OUTSIDE_PORT=many"}, "-s", "start")
	if code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, failed) || !strings.Contains(stderr, "outside.port") {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
}

// An error of Program.Controllers is one of the command that needs them.
func TestRoutesFail(t *testing.T) {
	p := Program{Controllers: func(framework.Deps) ([]framework.Controller, error) { return nil, errors.New("no greeter today") }}
	if code, _, stderr := call(t, p, nil, "-s", "routes"); code != 1 || !strings.Contains(stderr, "no greeter today") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

func TestToken(t *testing.T) {
	const key = "a key of more than sixteen bytes"
	code, stdout, stderr := call(t, Program{}, []string{"WSFRAME_APP_AUTH_KEY=" + key}, "-s", "token", "-type", "wall", "-id", "7", "-code", "A", "-nickname", "小明")
	if code != 0 {
		t.Fatal(stderr)
	}
	tokens, err := auth.New(auth.Config{Keys: []string{key}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := tokens.Verify(strings.TrimSpace(stdout))
	if err != nil || id.ID != "7" || id.Type != "wall" || id.Code != "A" || id.Nickname != "小明" {
		t.Errorf("%+v %v", id, err)
	}
	// No key is made where neither the configuration nor a server has one.
	code, _, stderr = call(t, Program{}, []string{"WSFRAME_APP_MANAGER_PORT=1"}, "-s", "token", "-id", "7")
	if code != 1 || !strings.Contains(stderr, "auth.key is not configured here") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if _, err := os.Stat("runtime"); err == nil {
		t.Error("a runtime directory was made")
	}
}

func TestNear(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"start", "start", true}, {"strat", "start", true}, {"Stop", "stop", true}, {"sto", "stop", true}, {"statuss", "status", true},
		{"conn", "connections", true}, {"x", "stop", false}, {"reboot", "reload", false},
	} {
		if near(tc.a, tc.b) != tc.want {
			t.Errorf("%s, %s: %v", tc.a, tc.b, !tc.want)
		}
	}
}

func TestLocal(t *testing.T) {
	for addr, want := range map[string]string{"0.0.0.0:1": "127.0.0.1:1", "[::]:1": "127.0.0.1:1", "10.0.0.1:1": "10.0.0.1:1", "?": "?"} {
		if got := local(addr); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}

// The error of start -d is the last error that a server which has not come up has printed.
func TestLastError(t *testing.T) {
	for printed, want := range map[string]string{
		"console: a\nconsole: b\nmore\n": "b\nmore",
		"nothing":                        "",
		"":                               "",
	} {
		if got := lastError(printed); got != want {
			t.Errorf("%q: %q", printed, got)
		}
	}
	if got := tailOf([]byte("old new"), 4); got != "new" {
		t.Error(got)
	}
}

// The documents are served until the context ends.
func TestDocs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- Run(ctx, Program{Sources: fstest.MapFS{"README.md": {Data: []byte("# Read me\n")}}}, []string{"docs"}, nil, w, w)
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	url := regexp.MustCompile(`http://\S+`).FindString(line)
	if err != nil || url == "" {
		t.Fatal(line, err)
	}
	resp, err := http.Get(url + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(b), `<h1 id="read-me">Read me</h1>`) {
		t.Errorf("%s %v", b, err)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Error(code)
	}
}
