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

// calls is POST /api/v1/{method}.
type calls struct {
	door    *door
	gate    *gate
	once    *once
	backend Backend
	report  *reporter
	maxBody int // bytes
}

// job is a request that its caller may make: a call, or a batch of calls.
type job struct {
	method  string
	body    []byte
	changes bool // doing it twice makes a difference
	sends   bool // its response waits until what was sent is safe
	do      func(ctx context.Context) (any, *Error)
}

func (s *calls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, e := s.serve(w, r)
	if e != nil {
		a = problem(e, nil)
		if e.Code == CodeInProgress {
			w.Header().Set("Retry-After", "1")
		}
	}
	write(w, a)
}

func (s *calls) serve(w http.ResponseWriter, r *http.Request) (response, *Error) {
	c, e := s.door.admit(w, r)
	if e != nil {
		return response{}, e
	}
	if e := checkCall(w, r); e != nil {
		return response{}, e
	}
	if e := c.spend(1, ""); e != nil {
		return response{}, e
	}
	key, keyed, e := keyOf(r)
	if e != nil {
		return response{}, e
	}
	j, e := s.job(w, r, c)
	if e != nil {
		return response{}, e
	}
	base := r.Context()
	if keyed {
		base = context.WithoutCancel(base) // a later request with the key gets this one's response
	}
	ctx, leave, e := s.gate.enter(base)
	if e != nil {
		return response{}, e
	}
	defer leave()
	do := func() (response, Code) { return s.perform(ctx, j) }
	if keyed && j.changes {
		k, e := newClaim(c, key, j.method, j.body)
		if e != nil {
			return response{}, e
		}
		return s.once.do(ctx, k, do)
	}
	a, _ := do()
	return a, nil
}

// checkCall checks what precedes the body.
func checkCall(w http.ResponseWriter, r *http.Request) *Error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return fail(CodeNotAllowed, "calls are made by POST")
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return fail(CodeMediaType, "the Content-Type must be application/json")
	}
	if r.URL.RawQuery != "" { // a field there would be ignored, and the call do more than was meant
		return fail(CodeBadRequest, "fields stand in the body; the query must be empty")
	}
	return nil
}

// keyOf returns the request's Idempotency-Key.
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

// job reads a request and checks whether its caller may make it.
func (s *calls) job(w http.ResponseWriter, r *http.Request, c *caller) (*job, *Error) {
	name := r.PathValue("method")
	m := findMethod(name)
	switch {
	case m == nil && name != "batch":
		return nil, fail(CodeUnknownMethod, "there is no such method; GET /openapi.json lists them")
	case m != nil && !c.may(m.scope):
		return nil, m.forbidden()
	}
	body, e := readBody(w, r, s.maxBody)
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

// checkJSON refuses JSON that clients' parsers would read differently or not at all (RFC 7493).
// Text that is no JSON is left to decode, whose errors are more precise.
func checkJSON(body []byte) *Error {
	if !json.Valid(body) {
		return nil
	}
	if err := ijson.Check(body); err != nil {
		return fail(CodeBadRequest, "%v", err)
	}
	return nil
}

func (s *calls) perform(ctx context.Context, j *job) (response, Code) {
	result, e := j.do(ctx)
	if j.sends {
		s.backend.Settle(ctx) // the caller of a successful send does not send again
	}
	if e != nil {
		return problem(e, result), e.Code
	}
	return success(result), ""
}

// invoke makes one call. Where not all nodes have replied, it returns both a result and an error.
func (s *calls) invoke(ctx context.Context, c *caller, m *method, body []byte) (any, *Error) {
	if !c.may(m.scope) {
		return nil, m.forbidden()
	}
	result, err := m.call(ctx, s.backend, body)
	if err == nil {
		return result, nil
	}
	e := s.report.errorOf(m.name, err)
	if e.Code != CodePartial {
		result = nil
	}
	return result, e
}

// readBody reads a request's body of at most maxBytes.
func readBody(w http.ResponseWriter, r *http.Request, maxBytes int) ([]byte, *Error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(maxBytes)))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, fail(CodeTooLarge, "the body has more than %d bytes", large.Limit)
	case err != nil:
		return nil, fail(CodeBadRequest, "the body ends too soon")
	}
	return body, nil
}
