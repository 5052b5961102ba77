package push

import (
	"context"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"wsframe/framework/frame"
)

// maxTo bounds a list of users: each costs what a request costs.
const maxTo = 100

// listItem is how PHP names the entries of a list: to[] by hand, to[0] by http_build_query.
var listItem = regexp.MustCompile(`^to\[[0-9]*\]$`)

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

// publish checks a form and sends it.
func (s *Server) publish(w http.ResponseWriter, r *http.Request) (string, *Error) {
	c, e := s.caller(w, r)
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
	fields, e := s.fields(w, r)
	if e != nil {
		return "", e
	}
	f, e := readForm(fields)
	if e != nil {
		return "", e
	}
	if n := len(f.to) - 1; n > 0 && !c.rate.take(n) {
		return "", fail(CodeRateLimited, "more than %d requests a second, of which a list of users is as many as it has entries", s.cfg.RateLimit)
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	if e := s.enter(ctx); e != nil {
		return "", e
	}
	defer s.leave()
	p := &Push{Event: "new_msg", Param: JSON(frame.HTML.Replace(f.content))}
	if f.all {
		return s.tellAll(ctx, p)
	}
	return s.tell(ctx, f.to, p)
}

// fields are the request's, from its query or from its body: where both have some, one of them would be passed over.
func (s *Server) fields(w http.ResponseWriter, r *http.Request) (url.Values, *Error) {
	body, e := s.body(w, r)
	switch {
	case e != nil:
		return nil, e
	case len(body) == 0:
		return parseFields(r.URL.RawQuery), nil
	case r.Method != http.MethodPost:
		return nil, fail(CodeBadRequest, "by GET the fields stand in the query, and there is no body")
	case r.URL.RawQuery != "":
		return nil, fail(CodeBadRequest, "the fields stand in the query or in the body, not in both")
	}
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // what cannot be read is no form
	switch kind {
	case "application/x-www-form-urlencoded":
		return parseFields(string(body)), nil
	case "multipart/form-data":
		return parseParts(body, params["boundary"])
	}
	return nil, fail(CodeBadRequest, "the body must be a form: application/x-www-form-urlencoded or multipart/form-data")
}

// message is what a form asks for.
type message struct {
	content string
	all     bool
	to      []string // users; none where all is true
}

// readForm understands a form wholly or not at all: a recipient in some other spelling must not make a message for one user a
// message for all.
func readForm(fields url.Values) (m message, e *Error) {
	var list []string
	for name, values := range fields {
		switch {
		case name == "type", name == "content", name == "to":
			if len(values) > 1 {
				return m, fail(CodeBadRequest, "%s is there %d times", name, len(values))
			}
		case !listItem.MatchString(name):
			return m, fail(CodeBadRequest, "%.64q is no field of this: they are type, to and content", name)
		case name != "to[]" && len(values) > 1:
			return m, fail(CodeBadRequest, "%.64s is there %d times", name, len(values))
		default:
			list = append(list, values...)
		}
	}
	m.content = fields.Get("content")
	switch {
	case fields.Get("type") != "publish":
		return m, fail(CodeBadRequest, "type must be publish")
	case !fields.Has("content"): // what was left out by mistake must not reach everybody
		return m, fail(CodeBadRequest, "content is missing")
	case !utf8.ValidString(m.content):
		return m, fail(CodeBadRequest, "content is not UTF-8")
	case len(list) > 0 && fields.Has("to"):
		return m, fail(CodeBadRequest, "to is there as a text and as a list")
	case len(list) > maxTo:
		return m, fail(CodeBadRequest, "to has more than %d entries", maxTo)
	case len(list) == 0 && fields.Get("to") == "":
		m.all = true
		return m, nil
	case len(list) == 0:
		list = fields["to"]
	}
	kind := kinds["uid"]
	for _, uid := range list {
		if wrong := kind.check(reflect.ValueOf(uid)); wrong != "" {
			return m, fail(CodeBadRequest, "to %s", wrong)
		}
	}
	slices.Sort(list)
	m.to = slices.Compact(list)
	return m, nil
}

func (s *Server) tellAll(ctx context.Context, p *Push) (string, *Error) {
	_, err := taken(s.cfg.Backend.SendToAll(p))
	s.cfg.Backend.Settle(ctx)
	if err != nil {
		return "", s.untold(err)
	}
	return "ok", nil
}

// tell sends to users. Where it fails for one of several, that is the answer.
func (s *Server) tell(ctx context.Context, to []string, p *Push) (string, *Error) {
	reached, wrong := 0, (*Error)(nil)
	for _, uid := range to {
		switch n, err := s.cfg.Backend.Reach(ctx, uid, p); {
		case n > 0:
			reached++
		case err != nil:
			wrong = s.untold(err)
		}
	}
	switch {
	case wrong != nil && len(to) > 1:
		return "", fail(CodePartial, "%d of %d users have taken it; of others: %s", reached, len(to), wrong.Message)
	case wrong != nil:
		return "", wrong
	case reached == 0:
		return "offline", nil
	}
	return "ok", nil
}

// untold is what the caller hears of an error.
func (s *Server) untold(err error) *Error {
	e, cause := errorOf(s.cfg.Backend, err)
	if cause != nil {
		s.warn("publish", cause)
	}
	return e
}
