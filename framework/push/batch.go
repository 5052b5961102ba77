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

// batch does several calls; one that fails does not stop the others.
func (s *Server) batch(ctx context.Context, c *caller, _ string, body []byte) (any, *Error) {
	var in batchIn
	if e := decode(body, batchFields, &in); e != nil {
		return nil, e
	}
	if n := len(in.Calls) - 1; n > 0 && !c.rate.take(n) {
		return nil, fail(CodeRateLimited, "more than %d requests a second, of which a batch is as many as it has calls", s.cfg.RateLimit)
	}
	out := batchOut{Results: make([]envelope, len(in.Calls))}
	for i, call := range in.Calls {
		if len(call.Params) == 0 {
			call.Params = json.RawMessage("{}")
		}
		result, e := s.invoke(ctx, c, call.Method, call.Params)
		if e == nil && result == nil {
			result = nothing{}
		}
		out.Results[i] = envelope{result, e}
	}
	return out, nil
}
