package structure

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

// documents are all *.md of the repository, by their path from its top.
func documents(t *testing.T) map[string]string {
	t.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && slices.Contains([]string{"runtime", ".git", "node_modules"}, name):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		b, err := os.ReadFile(path)
		list[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 5 {
		t.Fatalf("only %d documents were found", len(list))
	}
	return list
}

var (
	fence     = regexp.MustCompile("(?ms)^```.*?^```")
	codeSpan  = regexp.MustCompile("`[^`\n]*`")
	link      = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	reference = regexp.MustCompile(`(?m)^\[[^\]\n]+\]:\s+(\S+)`)
	heading   = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *#*$`)
	linkText  = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	command   = regexp.MustCompile(`(?:\bconsole|\./public) -s ([a-z]+)`)
)

// prose is a document without its code, in which nothing is a link or a heading.
func prose(text string) string { return fence.ReplaceAllString(text, "") }

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	heading = linkText.ReplaceAllString(heading, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Pc):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// anchors are those of a document; headings that come again are numbered.
func anchors(text string) map[string]bool {
	list := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(prose(text), -1) {
		a := anchor(m[1])
		name := a
		for n := 1; list[name]; n++ {
			name = a + "-" + strconv.Itoa(n)
		}
		list[name] = true
	}
	return list
}

func TestAnchor(t *testing.T) {
	for heading, want := range map[string]string{
		"Start":                       "start",
		"Users, rooms, pushes":        "users-rooms-pushes",
		"用户、房间、推送":                    "用户房间推送",
		"web-msg-sender 的表单":          "web-msg-sender-的表单",
		"`Idempotency-Key` (see_it)":  "idempotency-key-see_it",
		"[README](README.md) & more!": "readme--more",
	} {
		if got := anchor(heading); got != want {
			t.Errorf("%s: #%s, want #%s", heading, got, want)
		}
	}
	got := anchors("# A\n```sh\n# no heading\n```\n## B c\n## B c ##\n")
	if len(got) != 3 || !got["a"] || !got["b-c"] || !got["b-c-1"] {
		t.Error(got)
	}
}

// Links and images lead to files of the repository, and to headings that are there.
func TestLinks(t *testing.T) {
	docs := documents(t)
	count := 0
	for name, text := range docs {
		text = codeSpan.ReplaceAllString(prose(text), "")
		for _, m := range append(link.FindAllStringSubmatch(text, -1), reference.FindAllStringSubmatch(text, -1)...) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			count++
			path := name
			if target != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
			}
			if !filepath.IsLocal(path) {
				t.Errorf("%s: %s leads out of the repository", name, m[1])
				continue
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: there is no %s", name, m[1])
				continue
			}
			if fragment != "" && !anchors(docs[path])[fragment] {
				t.Errorf("%s: %s has no heading #%s", name, path, fragment)
			}
		}
	}
	if count < 30 {
		t.Errorf("only %d links were found", count)
	}
}

// Every close code that clients can get, and every command of the manager port, stands in the protocol, in both languages.
func TestProtocol(t *testing.T) {
	named := func(file, pattern string, least int) (list []string) {
		t.Helper()
		source, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(source), -1) {
			list = append(list, m[1])
		}
		if len(list) < least {
			t.Fatalf("only these were found in %s: %v", file, list)
		}
		return list
	}
	const code = `(?m)\bClose\w+ *= (\d{4})`
	codes := named("framework/internal/wire/close.go", code, 15)
	commands := named("framework/manager/command.go", `(?m)^\tcase "(\w+)":$`, 5)
	docs := documents(t)
	for _, name := range []string{"docs/protocol.md", "docs/protocol.zh-CN.md"} {
		for _, c := range codes {
			if c != "1000" && c != "1005" && c != "1006" && !strings.Contains(docs[name], "\n| "+c+" | ") { // a goodbye, and two that nobody sends
				t.Errorf("%s does not explain the close code %s", name, c)
			}
		}
		for _, c := range append(commands, "connections") {
			if !strings.Contains(docs[name], "\n| `"+c+"`") {
				t.Errorf("%s does not name the manager's command %s", name, c)
			}
		}
	}
}

// Commands in the documents exist, and both READMEs name them all.
func TestCommands(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "framework/console/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\{name: "([a-z]+)",`).FindAllStringSubmatch(string(source), -1) {
			commands = append(commands, m[1])
		}
	}
	if len(commands) < 10 {
		t.Fatalf("only these commands were found in framework/console: %v", commands)
	}
	for name, text := range documents(t) {
		named := map[string]bool{}
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			if named[m[1]] = true; !slices.Contains(commands, m[1]) {
				t.Errorf("%s: there is no console -s %s", name, m[1])
			}
		}
		if name != "README.md" && name != "README.zh-CN.md" {
			continue
		}
		for _, c := range commands {
			if !named[c] {
				t.Errorf("%s does not name console -s %s", name, c)
			}
		}
	}
}

// What a client does after a close code stands in the protocol's table, in both languages, and in wsframe.js: they say the same.
func TestCloseCodes(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(root, "public", "static", "wsframe.js"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(source), "const CLOSE = {")
	table, _, _ = strings.Cut(table, "};")
	client := map[string]string{}
	for _, m := range regexp.MustCompile(`(\d{4}): \['(\w+)'`).FindAllStringSubmatch(table, -1) {
		if m[2] != "backoff" {
			client[m[1]] = m[2]
		}
	}
	if len(client) < 4 {
		t.Fatalf("wsframe.js has the table %v", client)
	}
	words := map[string]string{"at once": "now", "立即": "now", "after some": "later", "约 15 秒后": "later", "another token": "token", "新的令牌": "token", "stay away": "never", "不要重连": "never"}
	for name, text := range documents(t) {
		if !strings.HasPrefix(name, "docs/protocol") {
			continue
		}
		rows := regexp.MustCompile(`(?m)^\| ([14]\d{3}) \|.*\| (.*) \|$`).FindAllStringSubmatch(text, -1)
		if len(rows) < 12 {
			t.Errorf("%s has %d close codes", name, len(rows))
		}
		for _, row := range rows {
			want := ""
			for word, does := range words {
				if strings.Contains(row[2], word) {
					want = does
				}
			}
			if client[row[1]] != want {
				t.Errorf("%s: %s means %q, in wsframe.js %q", name, row[1], want, client[row[1]])
			}
		}
	}
}
