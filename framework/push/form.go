package push

import (
	"context"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"
)

// escape is PHP's htmlspecialchars.
var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#039;")

// form is web-msg-sender's: type=publish&to=UID&content=TEXT by GET or POST. It answers ok, offline or fail, all with status 200 as the
// original does, but for who may not call.
func (s *Server) form(w http.ResponseWriter, r *http.Request) {
	say := func(status int, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text) // the caller's loss
	}
	c, e := s.access.of(r)
	switch {
	case e == nil && !c.may(ScopeSend):
		e = fail(CodeForbidden, "")
	case e == nil && !c.rate.take(1):
		e = fail(CodeRateLimited, "")
	case e == nil && r.URL.Path != "/":
		e = fail(CodeNotFound, "")
	case e == nil && r.Method != http.MethodGet && r.Method != http.MethodPost:
		e = fail(CodeNotAllowed, "")
	}
	if e != nil {
		say(e.Code.Status(), "fail")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, int64(s.cfg.MaxBody))
	if err := r.ParseMultipartForm(int64(s.cfg.MaxBody)); err != nil && err != http.ErrNotMultipart {
		say(http.StatusOK, "fail")
		return
	}
	if r.MultipartForm != nil {
		defer func() { _ = r.MultipartForm.RemoveAll() }() // nothing was written: all of it fits into memory
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	say(http.StatusOK, s.publish(ctx, r.FormValue("type"), r.FormValue("to"), r.FormValue("content")))
}

func (s *Server) publish(ctx context.Context, kind, to, content string) string {
	if kind != "publish" || !utf8.ValidString(content) {
		return "fail"
	}
	p := &Push{Event: "new_msg", Param: JSON(escape.Replace(content))}
	if to == "" {
		if err := s.cfg.Backend.SendToAll(p); err != nil {
			s.note("publish", err)
			return "fail"
		}
		return "ok"
	}
	uid := kinds["uid"]
	if !uid.pattern.MatchString(to) {
		return "fail"
	}
	switch n, err := s.cfg.Backend.Reach(ctx, to, p); {
	case n > 0:
		return "ok"
	case err != nil:
		s.note("publish", err)
		return "fail"
	}
	return "offline"
}
