package ask

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"wsframe/framework/bus"
)

// Query is a question as it travels: one JSON object with these fields and those of the operation's question type.
type Query struct {
	ID   int64
	Node string // who asks
	Op   string
	FD   int64      // the connection that it is about; 0 = none
	Mark bus.Cursor // of Follows: what the asker had sent before

	question any             // the operation's, where it was asked in this process
	body     json.RawMessage // else an object with the operation's fields, and perhaps others
}

// head is what each Query has, in the order of the object.
type head struct {
	ID   int64      `json:"i"`
	Node string     `json:"n"`
	Op   string     `json:"o"`
	FD   int64      `json:"f,omitempty"`
	Mark bus.Cursor `json:"m,omitempty"`
}

// MarshalJSON puts the operation's fields between the others: {"i":…,"n":…,"o":…,"f":…, FIELDS ,"m":…}.
func (q Query) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(head{ID: q.ID, Node: q.Node, Op: q.Op, FD: q.FD})
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

// fields gives an object with the operation's own fields. Of a question that goes on to others it has come with the other ones.
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
	for _, key := range []string{"i", "n", "o", "f", "m"} {
		delete(fields, key)
	}
	return json.Marshal(fields)
}

// UnmarshalJSON is the inverse. The operation's fields stay as they are.
func (q *Query) UnmarshalJSON(b []byte) error {
	var h head
	if err := json.Unmarshal(b, &h); err != nil {
		return err
	}
	*q = Query{ID: h.ID, Node: h.Node, Op: h.Op, FD: h.FD, Mark: h.Mark, body: bytes.Clone(b)}
	return nil
}

// newQuery makes a question about a connection, 0 = about none.
func newQuery[Q, A any](op Op[Q, A], fd int64, question Q) Query {
	return Query{Op: op.Name, FD: fd, question: question}
}

// questionOf gives the operation's own question.
func questionOf[Q any](q *Query) (question Q, err error) {
	if question, ok := q.question.(Q); ok {
		return question, nil
	}
	if err = json.Unmarshal(q.body, &question); err != nil {
		err = fmt.Errorf("the question %s cannot be read", q.Op)
	}
	return question, err
}

// Reply is an answer as it travels.
type Reply struct {
	ID    int64           `json:"i"`
	Node  string          `json:"n"`
	Found bool            `json:"f,omitempty"`
	Count int             `json:"c,omitempty"`
	Value json.RawMessage `json:"d,omitempty"`
	Error string          `json:"e,omitempty"` // for people
	Code  string          `json:"x,omitempty"` // of the error, where askers tell it apart
}

// encode makes an answer travel. An A without fields is left out.
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

// remoteError is an error of another node, or of the next worker.
type remoteError struct {
	text string
	err  error // that it stands for; nil = none that is known here
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.err }

// err is the error that an answer tells of.
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
