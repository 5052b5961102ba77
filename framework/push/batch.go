package push

import (
	"context"
	"encoding/json"
	"reflect"
)

type batchIn struct {
	Calls []batchCall `json:"calls" is:"calls" doc:"1 to 100 calls, done one after the other"`
}

type batchCall struct {
	Method string          `json:"method" is:"method" doc:"any other method"`
	Params json.RawMessage `json:"params,omitempty" doc:"its body"`
}

var callFields = fieldsOf(reflect.TypeFor[batchCall]())

// UnmarshalJSON is as strict as the decoding of any request.
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

var batchFields = fieldsOf(reflect.TypeFor[batchIn]())

// batch reads several calls. One that fails does not stop the others.
func (s *calls) batch(c *caller, body []byte) (*job, *Error) {
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
	j.do = func(ctx context.Context) (any, *Error) { return s.invokeAll(ctx, c, in.Calls) }
	return j, nil
}

// invokeAll makes the calls one after the other. Calls that have not begun within the request's
// time are not made.
func (s *calls) invokeAll(ctx context.Context, c *caller, list []batchCall) (any, *Error) {
	if n := len(list) - 1; n > 0 {
		if e := c.spend(n, ", of which a batch is as many as it has calls"); e != nil {
			return nil, e
		}
	}
	out := batchOut{Results: make([]envelope, len(list))}
	for i, call := range list {
		result, e := s.invokeOne(ctx, c, call)
		if e == nil && result == nil {
			result = nothing{}
		}
		out.Results[i] = envelope{result, e}
	}
	return out, nil
}

func (s *calls) invokeOne(ctx context.Context, c *caller, call batchCall) (any, *Error) {
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
