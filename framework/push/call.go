package push

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"wsframe/framework/internal/ijson"
)

// job is a request of the JSON API that may be done: what does it, and what it takes.
type job struct {
	method  string
	body    []byte
	changes bool // doing it twice makes a difference
	sends   bool
	do      func(ctx context.Context) (any, *Error)
}

// api is POST /api/v1/{method}.
func (s *Server) api(w http.ResponseWriter, r *http.Request) {
	a, e := s.call(w, r)
	if e != nil {
		a = problem(e, nil)
		if e.Code == CodeInProgress {
			w.Header().Set("Retry-After", "1")
		}
	}
	write(w, a)
}

func (s *Server) call(w http.ResponseWriter, r *http.Request) (answer, *Error) {
	c, e := s.caller(w, r)
	if e != nil {
		return answer{}, e
	}
	if e := checkCall(w, r); e != nil {
		return answer{}, e
	}
	if !c.rate.take(1) {
		return answer{}, fail(CodeRateLimited, "more than %d requests a second", s.cfg.RateLimit)
	}
	key, keyed, e := keyOf(r)
	if e != nil {
		return answer{}, e
	}
	j, e := s.job(w, r, c)
	if e != nil {
		return answer{}, e
	}
	base := r.Context()
	if keyed {
		base = context.WithoutCancel(base) // whoever asks again wants to know what became of it
	}
	ctx, cancel := context.WithTimeout(base, callTime)
	defer cancel()
	if e := s.enter(ctx); e != nil {
		return answer{}, e
	}
	defer s.leave()
	do := func() (answer, Code) { return s.perform(ctx, j) }
	if keyed && j.changes {
		return s.once(ctx, key, c, j.method, j.body, do)
	}
	a, _ := do()
	return a, nil
}

// checkCall looks at what stands before the body.
func checkCall(w http.ResponseWriter, r *http.Request) *Error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return fail(CodeNotAllowed, "calls are made by POST")
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return fail(CodeMediaType, "the Content-Type must be application/json")
	}
	if r.URL.RawQuery != "" { // a field there would be passed over, and the call do more than was meant
		return fail(CodeBadRequest, "fields stand in the body; the query must be empty")
	}
	return nil
}

// keyOf is the request's Idempotency-Key.
func keyOf(r *http.Request) (key string, keyed bool, e *Error) {
	keys := r.Header.Values("Idempotency-Key")
	switch {
	case len(keys) == 0:
		return "", false, nil
	case len(keys) > 1:
		return "", false, fail(CodeBadRequest, "a request has one Idempotency-Key")
	}
	return keys[0], true, nil
}

// job reads a request and looks at who may do it.
func (s *Server) job(w http.ResponseWriter, r *http.Request, c *caller) (*job, *Error) {
	name := r.PathValue("method")
	m := findMethod(name)
	switch {
	case m == nil && name != "batch":
		return nil, fail(CodeUnknownMethod, "there is no such method; GET /openapi.json lists them")
	case m != nil && !c.may(m.scope):
		return nil, m.forbidden()
	}
	body, e := s.body(w, r)
	if e != nil {
		return nil, e
	}
	if e := checkJSON(body); e != nil {
		return nil, e
	}
	if m == nil {
		return s.batch(c, body)
	}
	do := func(ctx context.Context) (any, *Error) { return s.invoke(ctx, c, m, body) }
	return &job{m.name, body, m.changes(), m.scope == ScopeSend, do}, nil
}

// checkJSON refuses what clients' readers would understand differently or not at all (RFC 7493). What is no JSON at all is told with the
// fields.
func checkJSON(body []byte) *Error {
	if !json.Valid(body) {
		return nil
	}
	if err := ijson.Check(body); err != nil {
		return fail(CodeBadRequest, "%v", err)
	}
	return nil
}

func (s *Server) perform(ctx context.Context, j *job) (answer, Code) {
	result, e := j.do(ctx)
	if j.sends {
		s.cfg.Backend.Settle(ctx) // who is told that it was taken does not send it again
	}
	if e != nil {
		return problem(e, result), e.Code
	}
	return success(result), ""
}

// invoke does one call. Where not all nodes have answered there is both a result and an error.
func (s *Server) invoke(ctx context.Context, c *caller, m *method, body []byte) (any, *Error) {
	if !c.may(m.scope) {
		return nil, m.forbidden()
	}
	result, err := m.call(ctx, s.cfg.Backend, body)
	if err == nil {
		return result, nil
	}
	e, cause := errorOf(s.cfg.Backend, err)
	if cause != nil {
		s.warn(m.name, cause)
	}
	if e.Code != CodePartial {
		result = nil
	}
	return result, e
}

// body reads a request's body, of Config.MaxBody bytes at most.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, *Error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.cfg.MaxBody)))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, fail(CodeTooLarge, "the body has more than %d bytes", large.Limit)
	case err != nil:
		return nil, fail(CodeBadRequest, "the body ends too soon")
	}
	return body, nil
}
