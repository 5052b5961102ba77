package push

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"
)

// escape is PHP's htmlspecialchars.
var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#039;")

// form is web-msg-sender's: type=publish&to=UID&content=TEXT by GET or POST. It answers ok, offline or fail, all with status 200 as the
// original does, but for who may not call; the header message says why it is fail, as the outside port does (contract §1).
func (s *Server) form(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		write(w, problem(fail(CodeNotFound, "there is nothing here; GET /openapi.json lists what there is"), nil))
		return
	}
	say, e := s.publish(w, r)
	status := http.StatusOK
	if e != nil {
		say = "fail"
		w.Header().Set("message", header(e.Error()))
		switch e.Code {
		case CodeBadRequest, CodePartial, CodeTimeout, CodeInternal:
		default:
			status = e.Code.Status()
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	decorate(w.Header(), status)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, say) // the caller's loss
}

// header makes a text fit for a header.
func header(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

func (s *Server) publish(w http.ResponseWriter, r *http.Request) (string, *Error) {
	c, e := s.access.of(r)
	switch {
	case e != nil:
		return "", e
	case !c.may(ScopeSend):
		return "", fail(CodeForbidden, "this needs a token with the scope %s", ScopeSend)
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		return "", fail(CodeNotAllowed, "GET or POST")
	case !c.rate.take(1):
		return "", fail(CodeRateLimited, "more than %d requests a second", s.cfg.RateLimit)
	}
	r.Body = http.MaxBytesReader(w, r.Body, int64(s.cfg.MaxBody))
	var large *http.MaxBytesError
	body, err := io.ReadAll(r.Body)
	if r.Body = io.NopCloser(bytes.NewReader(body)); err == nil {
		err = r.ParseForm()
	}
	if err == nil {
		err = r.ParseMultipartForm(int64(s.cfg.MaxBody))
	}
	switch {
	case errors.As(err, &large):
		return "", fail(CodeTooLarge, "the body has more than %d bytes", large.Limit)
	case err != nil && !errors.Is(err, http.ErrNotMultipart), r.MultipartForm != nil && !whole(body, r.Header.Get("Content-Type")):
		return "", fail(CodeBadRequest, "the form is malformed")
	}
	if r.MultipartForm != nil {
		defer func() { _ = r.MultipartForm.RemoveAll() }() // nothing was written: all of it fits into memory
	}
	to, text := r.FormValue("to"), r.FormValue("content")
	uid := kinds["uid"]
	wrong := uid.check(reflect.ValueOf(to))
	switch {
	case r.FormValue("type") != "publish":
		return "", fail(CodeBadRequest, "type must be publish")
	case !r.Form.Has("content"): // what was left out by mistake must not reach everybody
		return "", fail(CodeBadRequest, "content is missing")
	case !utf8.ValidString(text):
		return "", fail(CodeBadRequest, "content is not UTF-8")
	case to != "" && wrong != "":
		return "", fail(CodeBadRequest, "to %s", wrong)
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	if e := s.enter(ctx); e != nil {
		return "", e
	}
	defer s.leave()
	return s.tell(ctx, to, &Push{Event: "new_msg", Param: JSON(escape.Replace(text))})
}

// whole tells whether a multipart body has its closing boundary: net/http takes one that ends between two parts for complete, and
// without its to it would be for everybody.
func whole(body []byte, contentType string) bool {
	_, params, err := mime.ParseMediaType(contentType)
	end := []byte("--" + params["boundary"] + "--")
	return err == nil && (bytes.HasPrefix(body, end) || bytes.Contains(body, append([]byte("\n"), end...)))
}

// tell sends to a user, or to all.
func (s *Server) tell(ctx context.Context, to string, p *Push) (string, *Error) {
	n, err := 1, error(nil)
	if to == "" {
		err = s.cfg.Backend.SendToAll(p)
		s.cfg.Backend.Settle(ctx)
	} else {
		n, err = s.cfg.Backend.Reach(ctx, to, p)
	}
	switch {
	case err != nil && (to == "" || n == 0):
		e, cause := errorOf(s.cfg.Backend, err)
		if cause != nil {
			s.warn("publish", cause)
		}
		return "", e
	case n == 0:
		return "offline", nil
	}
	return "ok", nil
}
