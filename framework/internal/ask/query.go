package ask

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"wsframe/framework/bus"
)

// Query is a question in transit: one JSON object with these fields and those of the operation's
// question type.
type Query struct {
	ID   int64
	Node string // id of the asking node
	To   string // inbox of the asking process, for the answer
	Op   string
	FD   int64      // connection in question; 0 = none
	Mark bus.Cursor // of the kind Follows: what the asker had sent before

	question any             // value of the operation's question type; nil = see body
	body     json.RawMessage // object with the operation's fields, received from another process
}

// head holds the common fields of all queries, in the order of the JSON object.
type head struct {
	ID   int64      `json:"i"`
	Node string     `json:"n"`
	To   string     `json:"to,omitempty"`
	Op   string     `json:"o"`
	FD   int64      `json:"f,omitempty"`
	Mark bus.Cursor `json:"m,omitempty"`
}

// MarshalJSON puts the operation's fields between the others:
//
//	{"i":…,"n":…,"to":…,"o":…,"f":…, FIELDS ,"m":…}
func (q Query) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(head{ID: q.ID, Node: q.Node, To: q.To, Op: q.Op, FD: q.FD})
	if err != nil {
		return nil, err
	}
	b = b[:len(b)-1]
	body, err := q.fields()
	if err != nil {
		return nil, err
	}
	if inner := bytes.TrimSuffix(bytes.TrimPrefix(body, []byte("{")), []byte("}")); len(inner) > 0 {
		b = append(append(b, ','), inner...)
	}
	if len(q.Mark) > 0 {
		mark, err := json.Marshal(q.Mark)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"m":`...), mark...)
	}
	return append(b, '}'), nil
}

// fields returns an object with only the operation's fields. A received question that goes on to
// other nodes contains the common fields too, which are removed.
func (q *Query) fields() ([]byte, error) {
	switch {
	case q.question != nil:
		return json.Marshal(q.question)
	case len(q.body) == 0:
		return nil, nil
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(q.body, &fields); err != nil {
		return nil, err
	}
	for _, key := range []string{"i", "n", "to", "o", "f", "m"} {
		delete(fields, key)
	}
	return json.Marshal(fields)
}

// UnmarshalJSON decodes the common fields. The operation's fields are decoded by its handler.
func (q *Query) UnmarshalJSON(b []byte) error {
	var h head
	if err := json.Unmarshal(b, &h); err != nil {
		return err
	}
	*q = Query{ID: h.ID, Node: h.Node, To: h.To, Op: h.Op, FD: h.FD, Mark: h.Mark, body: bytes.Clone(b)}
	return nil
}

// newQuery makes a question about the connection fd; 0 = about none.
func newQuery[Q, A any](op Op[Q, A], fd int64, question Q) Query {
	return Query{Op: op.Name, FD: fd, question: question}
}

// questionOf returns the operation's question.
func questionOf[Q any](q *Query) (question Q, err error) {
	if question, ok := q.question.(Q); ok {
		return question, nil
	}
	if err = json.Unmarshal(q.body, &question); err != nil {
		err = fmt.Errorf("the question %s cannot be read", q.Op)
	}
	return question, err
}

// Reply is an answer in transit.
type Reply struct {
	ID    int64           `json:"i"`
	Node  string          `json:"n"`
	Found bool            `json:"f,omitempty"`
	Count int             `json:"c,omitempty"`
	Value json.RawMessage `json:"d,omitempty"`
	Error string          `json:"e,omitempty"` // text for people
	Code  string          `json:"x,omitempty"` // key in Config.Errors; "" = none
}

// encode encodes an answer. A value without fields is omitted.
func encode[A any](n *Nodes, a Answer[A]) Reply {
	r := Reply{Found: a.Found, Count: a.Count}
	err := a.Err
	if _, none := any(a.Value).(struct{}); !none && err == nil {
		r.Value, err = json.Marshal(a.Value)
	}
	if err != nil {
		r.Error = err.Error()
		for code, one := range n.cfg.Errors {
			if errors.Is(err, one) {
				r.Code = code
			}
		}
	}
	return r
}

// remoteError is an error of another process.
type remoteError struct {
	text string
	err  error // the one of Config.Errors with its code; nil = none
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.err }

// err returns the error of an answer.
func (n *Nodes) err(r *Reply) error {
	if r.Error == "" {
		return nil
	}
	return &remoteError{r.Error, n.cfg.Errors[r.Code]}
}

func decode[A any](n *Nodes, r *Reply) (value A, err error) {
	if err = n.err(r); err == nil && len(r.Value) > 0 {
		err = json.Unmarshal(r.Value, &value)
	}
	return value, err
}
