package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"wsframe/framework/frame"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/question"
)

var (
	// ErrTooManyQuestions is returned by Ask for a connection with 16 open questions.
	ErrTooManyQuestions = question.ErrTooMany
	// ErrRefused is returned by Ask where the client refuses to answer; the error's text has its
	// reason, which are the client's own words.
	ErrRefused = errors.New("the client refuses to answer")
	// ErrAnswer is returned by Ask where the answer is no A, or breaks the rules of its validate
	// tags.
	ErrAnswer = errors.New("the client's answer is not valid")
)

// askTime is how long Ask waits where its context has no deadline.
const askTime = 30 * time.Second

// QuestionOf is an event of the server with a param P that the client answers with an A. Question
// makes one.
type QuestionOf[P, A any] struct{ event EventOf[P] }

// Question declares a question to clients; see Event for the info and for where to declare it.
//
//	var confirm = framework.Question[Order, Confirmed]("orderConfirm")
//
//	func (o *Orders) Buy(c *framework.Ctx, in *BuyIn) (*Bought, error) {
//		answer, err := confirm.Ask(c, c, Order{in.ID, price})
//		…
func Question[P, A any](name string, info ...string) QuestionOf[P, A] {
	declared.Question(name, paramOf(reflect.TypeFor[P]()), paramOf(reflect.TypeFor[A]()))
	return QuestionOf[P, A]{eventOf[P](name, info)}
}

// Name returns the name of the question's event.
func (q QuestionOf[P, A]) Name() string { return q.event.name }

// Ask sends the question to the connection of c and waits for the answer. Without a deadline of ctx
// it waits for 30 s. It may be called in an action, whose later frames wait, or by any other
// goroutine that has kept c. An action that asks survives a reload like any other, at most for
// limits.reload_drain.
//
// Errors are ErrTooManyQuestions, ErrRefused, ErrAnswer, that of ctx, and ErrClosed where the
// connection has ended. In an action, answers that the client compresses, fragments, or sends after
// more than 64 KiB of requests are read too late: leave compression off where actions ask.
func (q QuestionOf[P, A]) Ask(ctx context.Context, c *Ctx, param P) (answer A, err error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTime)
		defer cancel()
	}
	number, answers, forget, err := c.server.questions.Open(c.FD)
	if err != nil {
		return answer, err
	}
	defer forget()
	if err := sendWith(c.conn, q.event.With(param), "ask", number); err != nil {
		return answer, err
	}
	select {
	case a := <-answers:
		if a.Error != "" {
			return answer, fmt.Errorf("%w: %.200q", ErrRefused, a.Error)
		}
		err := decodeAnswer(a.Param, &answer)
		return answer, err
	case <-c.Done():
		return answer, ErrClosed
	case <-ctx.Done():
		return answer, fmt.Errorf("ask %s: %w", q.event.name, ctx.Err())
	}
}

// decodeAnswer decodes and validates an answer.
func decodeAnswer(param json.RawMessage, answer any) error {
	if _, none := answer.(*None); none {
		return nil
	}
	if err := json.Unmarshal(param, answer); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if t := reflect.TypeOf(answer).Elem(); t.Kind() != reflect.Struct {
		return nil
	}
	if err := validate.Struct(answer); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return nil
}

// answerMethod is the route of answers.
const answerMethod = "index.sys.answer"

var _ hub.Interrupter = (*dispatcher)(nil)

// Awaits implements hub.Interrupter.
func (d *dispatcher) Awaits(c *hub.Conn) bool { return d.server.questions.Waits(c.FD) }

// Interrupt implements hub.Interrupter: it takes answers to open questions, for which the action
// before them may wait.
func (d *dispatcher) Interrupt(c *hub.Conn, text []byte) bool {
	req, err := frame.Decode(text, d.decoding)
	if err != nil {
		return false
	}
	if t, unknown := d.router.find(req.Method); unknown != nil || t.name != answerMethod {
		return false
	}
	body := req.Body
	if d.escape {
		body = frame.EscapeHTML(body)
	}
	var in answerIn
	if json.Unmarshal(body, &in) != nil {
		return false // the action reports it
	}
	d.server.questions.Answer(question.Answer{FD: c.FD, Number: int64(in.Ask), Param: in.Param, Error: string(in.Error)})
	return true
}
