// Package manual serves Markdown documents as plain HTML pages. The console's command docs calls
// it, with the framework's files.
//
// The address of a page is the path of its file, so that links between documents work as they
// stand. Files of other kinds are shown as text. The package keeps no state; a Handler can serve
// many requests at the same time.
package manual

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
)

//go:embed style.css
var style embed.FS

// first are the documents that a reader begins with, in their order. The others follow by name.
var first = []string{"docs/start.md", "README.md", "docs/client.md", "docs/protocol.md", "docs/tokens.md", "docs/push.md", "docs/deploy/README.md", "docs/scaling.md"}

var page = template.Must(template.New("").Parse(`<!doctype html>
<html lang="{{.Language}}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<link rel="stylesheet" href="/-/style.css">
<body>
<nav><a href="/">wsframe</a>{{with .Other}} · <a href="/{{.}}">{{$.OtherText}}</a>{{end}}</nav>
<main>
{{.Body}}
</main>
</body>
</html>
`))

var list = template.Must(template.New("").Parse(`<h1>wsframe {{.Version}}</h1>
<table>
{{- range .Documents}}
<tr><td><a href="/{{.Path}}">{{.Title}}</a></td><td>{{with .Chinese}}<a href="/{{.}}">中文</a>{{end}}</td></tr>
{{- end}}
</table>
`))

type handler struct {
	files fs.FS
	mark  goldmark.Markdown
}

// Handler serves the documents among the files, and a list of them.
func Handler(files fs.FS) http.Handler {
	h := &handler{files: files, mark: goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.list)
	mux.Handle("GET /-/", http.StripPrefix("/-/", http.FileServerFS(style)))
	mux.HandleFunc("GET /", h.file)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

// file serves one file, or the README of a folder.
func (h *handler) file(w http.ResponseWriter, r *http.Request) {
	name := path.Clean(strings.TrimPrefix(r.URL.Path, "/"))
	if info, err := fs.Stat(h.files, name); err == nil && info.IsDir() {
		if _, err := fs.Stat(h.files, name+"/README.md"); err == nil {
			http.Redirect(w, r, "/"+name+"/README.md", http.StatusFound)
			return
		}
	}
	text, err := fs.ReadFile(h.files, name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if path.Ext(name) != ".md" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(text) // the reader has gone
		return
	}
	body, err := h.render(text)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.show(w, name, titleOf(text, name), body)
}

// render turns Markdown into HTML. HTML in it is left out.
func (h *handler) render(text []byte) (template.HTML, error) {
	var b bytes.Buffer
	err := h.mark.Convert(text, &b, parser.WithContext(parser.NewContext(parser.WithIDs(&anchors{seen: map[string]bool{}}))))
	return template.HTML(b.String()), err
}

func (h *handler) show(w http.ResponseWriter, name, title string, body template.HTML) {
	language, other, otherText := "en", strings.TrimSuffix(name, ".md")+".zh-CN.md", "中文"
	if base, chinese := strings.CutSuffix(name, ".zh-CN.md"); chinese {
		language, other, otherText = "zh-CN", base+".md", "English"
	}
	if _, err := fs.Stat(h.files, other); err != nil {
		other = ""
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, map[string]any{"Language": language, "Title": title, "Other": other, "OtherText": otherText, "Body": body}) // the reader has gone
}

// document is a line of the list.
type document struct{ Path, Title, Chinese string }

func (h *handler) list(w http.ResponseWriter, _ *http.Request) {
	version, _ := fs.ReadFile(h.files, "VERSION") // a title without it does, too
	var b bytes.Buffer
	if err := list.Execute(&b, map[string]any{"Version": strings.TrimSpace(string(version)), "Documents": h.documents()}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.show(w, "", "wsframe", template.HTML(b.String()))
}

// documents lists the Markdown files of the top and of docs/, with their titles.
func (h *handler) documents() (list []document) {
	names, _ := fs.Glob(h.files, "*.md") // fails for malformed patterns only
	for _, pattern := range []string{"docs/*.md", "docs/*/*.md"} {
		more, _ := fs.Glob(h.files, pattern)
		names = append(names, more...)
	}
	rank := func(name string) int {
		if at := slices.Index(first, name); at >= 0 {
			return at
		}
		return len(first)
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	for _, name := range names {
		if strings.HasSuffix(name, ".zh-CN.md") {
			continue
		}
		text, err := fs.ReadFile(h.files, name)
		if err != nil {
			continue
		}
		d := document{Path: name, Title: titleOf(text, name)}
		if chinese := strings.TrimSuffix(name, ".md") + ".zh-CN.md"; slices.Contains(names, chinese) {
			d.Chinese = chinese
		}
		list = append(list, d)
	}
	return list
}

// titleOf returns the first heading of a document.
func titleOf(text []byte, name string) string {
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "# "); ok {
			return strings.TrimSpace(title)
		}
	}
	return name
}

// anchors makes the anchors of headings as GitHub does, for which the documents are written.
type anchors struct{ seen map[string]bool }

// Generate returns the anchor of a heading.
func (a *anchors) Generate(heading []byte, _ ast.NodeKind) []byte {
	base := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Pc):
			return unicode.ToLower(r)
		}
		return -1
	}, string(heading))
	name := base
	for n := 1; a.seen[name]; n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	a.seen[name] = true
	return []byte(name)
}

// Put notes an anchor that the document gives itself.
func (a *anchors) Put(value []byte) { a.seen[string(value)] = true }
