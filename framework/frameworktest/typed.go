package frameworktest

import "wsframe/framework"

// Want returns the param of the next push, which must be the event.
//
//	m := frameworktest.Want(user, said)
func Want[T any](c *Client, e framework.EventOf[T]) (param T) {
	c.t.Helper()
	return paramOf[T](c.WantPush(e.Name()))
}

// Next returns the param of the next push of the event, and drops those before it, as NextPush
// does.
func Next[T any](c *Client, e framework.EventOf[T]) (param T) {
	c.t.Helper()
	return paramOf[T](c.NextPush(e.Name()))
}

// WantBroadcast checks that each client gets the event next, with the same param, and returns that.
func WantBroadcast[T any](e framework.EventOf[T], clients ...*Client) (param T) {
	first := ""
	for i, c := range clients {
		c.t.Helper()
		f := c.WantPush(e.Name())
		if i == 0 {
			first, param = string(f.Param), paramOf[T](f)
		}
		f.WantParam(first)
	}
	return param
}

// Answer calls an action that returns an Out, and returns that. The reply must have status 200.
//
//	list := frameworktest.Answer[[]Room](user, "chat.room.list", nil)
func Answer[Out any](c *Client, method string, data map[string]any) (out Out) {
	c.t.Helper()
	f := c.Call(method, data)
	return paramOf[Out](f.Want(200, f.Event))
}

// paramOf decodes a param, which an event of None does not have.
func paramOf[T any](f *Frame) (param T) {
	f.t.Helper()
	if len(f.Param) > 0 {
		f.Into(&param)
	}
	return param
}

// Question is a question of the server that waits for the client's answer.
type Question[P any] struct {
	Param  P
	client *Client
	number int64
}

// WantQuestion returns the question that arrives next.
//
//	frameworktest.WantQuestion(user, confirm).Answer(Confirmed{"yes"})
func WantQuestion[P, A any](c *Client, q framework.QuestionOf[P, A]) *Question[P] {
	c.t.Helper()
	f := c.WantPush(q.Name())
	if f.Ask == 0 {
		c.t.Fatalf("%s is no question", f.Event)
	}
	return &Question[P]{paramOf[P](f), c, f.Ask}
}

// Answer sends the answer.
func (q *Question[P]) Answer(answer any) {
	q.client.t.Helper()
	q.client.tell(map[string]any{"method": "sys.answer", "ask": q.number, "param": answer})
}

// Refuse answers with a reason for which there is no answer.
func (q *Question[P]) Refuse(reason string) {
	q.client.t.Helper()
	q.client.tell(map[string]any{"method": "sys.answer", "ask": q.number, "error": reason})
}
