package push

import (
	"context"
	"encoding/json"
)

type batchIn struct {
	Calls []batchCall `json:"calls" is:"calls" doc:"1 to 100 calls, done one after the other"`
}

type batchCall struct {
	Method string          `json:"method" is:"method" doc:"any other method"`
	Params json.RawMessage `json:"params,omitempty" doc:"its body"`
}

var callFields = fieldsOf(reflectType[batchCall]())

// UnmarshalJSON is as strict as with any request.
func (c *batchCall) UnmarshalJSON(b []byte) error {
	type plain batchCall
	if e := decode(b, callFields, (*plain)(c)); e != nil {
		return e
	}
	return nil
}

type batchOut struct {
	Results []envelope `json:"results" doc:"one for each call, with result or error"`
}

var batchFields = fieldsOf(reflectType[batchIn]())

// batch reads several calls; one that fails does not stop the others.
func (s *Server) batch(c *caller, body []byte) (*job, *Error) {
	var in batchIn
	if e := decode(body, batchFields, &in); e != nil {
		return nil, e
	}
	j := &job{method: "batch", body: body}
	for _, call := range in.Calls {
		if m := findMethod(call.Method); m != nil && c.may(m.scope) {
			j.changes = j.changes || m.changes()
			j.sends = j.sends || m.scope == ScopeSend
		}
	}
	j.do = func(ctx context.Context) (any, *Error) { return s.calls(ctx, c, in.Calls) }
	return j, nil
}

// calls does them one after the other. Those that are not begun in time are not done.
func (s *Server) calls(ctx context.Context, c *caller, list []batchCall) (any, *Error) {
	if n := len(list) - 1; n > 0 && !c.rate.take(n) {
		return nil, fail(CodeRateLimited, "more than %d requests a second, of which a batch is as many as it has calls", s.cfg.RateLimit)
	}
	out := batchOut{Results: make([]envelope, len(list))}
	for i, call := range list {
		result, e := s.one(ctx, c, call)
		if e == nil && result == nil {
			result = nothing{}
		}
		out.Results[i] = envelope{result, e}
	}
	return out, nil
}

func (s *Server) one(ctx context.Context, c *caller, call batchCall) (any, *Error) {
	m := findMethod(call.Method)
	switch {
	case m == nil:
		return nil, fail(CodeUnknownMethod, "there is no method %.64q", call.Method)
	case ctx.Err() != nil:
		return nil, fail(CodeUnavailable, "the calls before it took too long; nothing was done")
	case len(call.Params) == 0:
		call.Params = json.RawMessage("{}")
	}
	return s.invoke(ctx, c, m, call.Params)
}
