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
	"wsframe/framework/internal/names"
)

// maxTo bounds a list of users, of which each costs as much as a request.
const maxTo = 100

// listItem matches PHP's names for the entries of a list: to[] by hand, to[0] by http_build_query.
var listItem = regexp.MustCompile(`^to\[[0-9]*\]$`)

// form is GET and POST /, web-msg-sender's call: type=publish&to=UID&content=TEXT.
//
// Its responses are ok, offline or fail, with status 200 as the original's are (contract §1).
// Callers without the right to send, or beyond a limit, get the status of the API. The header
// message says why it is fail.
type form struct {
	door    *door
	gate    *gate
	backend Backend
	report  *reporter
	maxBody int // bytes
}

func (s *form) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		write(w, problem(fail(CodeNotFound, "there is nothing here; GET /openapi.json lists what there is"), nil))
		return
	}
	text, e := s.publish(w, r)
	status := http.StatusOK
	if e != nil {
		text = "fail"
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
	_, _ = io.WriteString(w, text) // a failure is the caller's loss
}

// header replaces the characters of a text that may not stand in a header.
func header(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

// publish checks a form and sends its message.
func (s *form) publish(w http.ResponseWriter, r *http.Request) (string, *Error) {
	c, e := s.door.admit(w, r)
	switch {
	case e != nil:
		return "", e
	case !c.may(ScopeSend):
		return "", fail(CodeForbidden, "this needs a token with the scope %s", ScopeSend)
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		return "", fail(CodeNotAllowed, "GET or POST")
	}
	if e := c.spend(1, ""); e != nil {
		return "", e
	}
	fields, e := s.fields(w, r)
	if e != nil {
		return "", e
	}
	m, e := readForm(fields)
	if e != nil {
		return "", e
	}
	if n := len(m.to) - 1; n > 0 {
		if e := c.spend(n, ", of which a list of users is as many as it has entries"); e != nil {
			return "", e
		}
	}
	ctx, leave, e := s.gate.enter(r.Context())
	if e != nil {
		return "", e
	}
	defer leave()
	p := &Push{Event: "new_msg", Param: JSON(frame.HTML.Replace(m.content))}
	if m.all {
		return s.sendToAll(ctx, p)
	}
	answer, e := s.sendTo(ctx, m.to, p)
	if answer == "offline" && m.odd != "" {
		return "", fail(CodeBadRequest, "to %s", m.odd)
	}
	return answer, e
}

// fields returns the fields of the query or of the body. Both at once are refused, since one of
// them would be ignored.
func (s *form) fields(w http.ResponseWriter, r *http.Request) (url.Values, *Error) {
	body, e := readBody(w, r, s.maxBody)
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
	// A type that cannot be parsed is no form.
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "application/x-www-form-urlencoded":
		return parseFields(string(body)), nil
	case "multipart/form-data":
		return parseParts(body, params["boundary"])
	}
	return nil, fail(CodeBadRequest, "the body must be a form: application/x-www-form-urlencoded or multipart/form-data")
}

// message is the content of a form.
type message struct {
	content string
	all     bool
	to      []string // users; empty where all is true
	// odd is what is wrong with the only user's name for all but pages of web-msg-sender and PHP,
	// which may have any; "" = nothing.
	odd string
}

// readForm reads a form, and refuses any field that it does not know: a recipient under another
// name would make a message for one user one for all.
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
	case !fields.Has("content"): // a message without a text must not reach everybody
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
	for i, uid := range list {
		wrong := kind.check(reflect.ValueOf(uid))
		if wrong == "" {
			continue
		}
		if list[i] = names.EscapeUID(uid); len(list) > 1 || names.AnyUID(list[i]) != nil {
			return m, fail(CodeBadRequest, "to %s", wrong)
		}
		m.odd = wrong
	}
	slices.Sort(list)
	m.to = slices.Compact(list)
	return m, nil
}

func (s *form) sendToAll(ctx context.Context, p *Push) (string, *Error) {
	_, err := queued(s.backend.SendToAll(p))
	s.backend.Settle(ctx)
	if err != nil {
		return "", s.report.errorOf("publish", err)
	}
	return "ok", nil
}

// sendTo sends to users. A failure for one of several is the result of the whole.
func (s *form) sendTo(ctx context.Context, to []string, p *Push) (string, *Error) {
	reached, failed := 0, (*Error)(nil)
	for _, uid := range to {
		switch n, err := s.backend.Reach(ctx, uid, p); {
		case n > 0:
			reached++
		case err != nil:
			failed = s.report.errorOf("publish", err)
		}
	}
	switch {
	case failed != nil && len(to) > 1:
		return "", fail(CodePartial, "%d of %d users have taken it; of others: %s", reached, len(to), failed.Message)
	case failed != nil:
		return "", failed
	case reached == 0:
		return "offline", nil
	}
	return "ok", nil
}
