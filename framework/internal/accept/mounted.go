package accept

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

const (
	frontPage = `<!doctype html><meta charset="utf-8"><title>wsframe</title>
<p>wsframe: this port speaks WebSocket.`
	demoLink = ` <a href="/static/">Demo</a>`
	pageEnd  = "</p>\n"
)

// Page is an application's HTTP handler on the outside port.
type Page struct {
	Path    string // "/health" is that path, "/api/" is everything below it, too
	Handler http.Handler
	MaxBody int64 // bytes of a request's body; beyond it reads fail
}

// ownPages are the application's pages, the static files, and a small page for everything else.
func ownPages(list []Page, static fs.FS) (http.Handler, error) {
	pages := http.NewServeMux()
	var errs []error
	seen := map[string]bool{}
	for _, p := range list {
		if err := p.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		if seen[p.Path] {
			errs = append(errs, fmt.Errorf("http %q: it is mounted twice", p.Path))
			continue
		}
		seen[p.Path] = true
		pages.Handle(p.Path, http.MaxBytesHandler(p.Handler, p.MaxBody))
	}
	builtIn := builtInPages(static)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, pattern := pages.Handler(r); pattern != "" {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		builtIn.ServeHTTP(w, r)
	}), errors.Join(errs...)
}

// check returns why the page cannot be mounted.
func (p *Page) check() error {
	clean := path.Clean(p.Path)
	if p.Path != "/" && strings.HasSuffix(p.Path, "/") {
		clean += "/"
	}
	switch {
	case p.Handler == nil:
		return fmt.Errorf("http %q: the handler is nil", p.Path)
	case !strings.HasPrefix(p.Path, "/") || clean != p.Path || strings.ContainsFunc(p.Path, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("{}?#%", r) }):
		return fmt.Errorf("http %q: it must be a path, such as /health or /api/ with everything below", p.Path)
	case p.Path == "/" || p.Path == "/static" || strings.HasPrefix(p.Path, "/static/"):
		return fmt.Errorf("http %q: this path is the server's own", p.Path)
	}
	return nil
}

// builtInPages are the static files, and a small page for everything else.
func builtInPages(static fs.FS) http.Handler {
	front := frontPage + pageEnd
	if static != nil {
		front = frontPage + demoLink + pageEnd
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, front) // an error concerns the client only
	})
	if static == nil {
		mux.Handle("GET /static/", http.NotFoundHandler())
		return mux
	}
	files := http.FileServerFS(static)
	mux.Handle("GET /static/", http.StripPrefix("/static/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	})))
	return mux
}
