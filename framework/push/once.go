package push

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/http"
	"regexp"
	"time"
)

// ErrStoreFull is the error of a Store that has no memory left.
var ErrStoreFull = errors.New("push: the store has no memory")

// Store is a memory that all nodes share. Values expire. It is safe for concurrent use.
type Store interface {
	// Claim keeps value under key where there is none, and otherwise gives what is there. It may fail with ErrStoreFull.
	Claim(ctx context.Context, key string, value []byte, age time.Duration) (there []byte, err error)
	Put(ctx context.Context, key string, value []byte, age time.Duration) error
	// Remove deletes key while it holds value.
	Remove(ctx context.Context, key string, value []byte) error
	// Durable returns when what was written before survives the death of the store, as far as the store can promise that.
	Durable(ctx context.Context) error
}

// A request with an Idempotency-Key is claimed in the Store before anything is done, and its answer replaces the claim. A claim
// lives as long as an answer: where the server dies in between, or the answer cannot be written, the request counts as done
// with an unknown outcome, and never runs again. What was certainly not done is removed: its key may come again.
const (
	maxKept     = 64 << 10 // bytes of an answer; of a larger one only that it was done
	onceTime    = 10 * time.Minute
	unknownTime = callTime + 5*time.Second // age of a claim whose request has ended, whatever became of it
	waitTime    = 5 * time.Second
	waitStep    = 50 * time.Millisecond
)

var keyPattern = regexp.MustCompile(`^[\x21-\x7e]{1,128}$`)

// answer is what goes out.
type answer struct {
	status int
	body   []byte
}

// claim is one request's hold on its key. Values in the Store begin with the request's hash and the answer's status, 0 = none
// yet. Behind 0 stand the time of the claim and a random number, by which a claim is known again.
type claim struct {
	name    string
	print   [sha256.Size]byte
	pending []byte
	end     time.Time // of the key
}

const statusEnd = sha256.Size + 2

func newClaim(c *caller, key, method string, body []byte) *claim {
	sum := sha256.Sum256([]byte(c.name + "\n" + key))
	now := time.Now()
	k := &claim{name: "ONCE:" + hex.EncodeToString(sum[:16]), print: sha256.Sum256(append([]byte(method+"\n"), body...)), end: now.Add(onceTime)}
	k.pending = binary.BigEndian.AppendUint64(append(k.print[:], 0, 0), uint64(now.UnixMilli()))
	k.pending = append(k.pending, rand.Text()[:8]...)
	return k
}

// read is the answer that another request's value holds: nil while that one is under way.
func (k *claim) read(there []byte) (*answer, *Error) {
	if len(there) < statusEnd || !bytes.Equal(there[:len(k.print)], k.print[:]) {
		return nil, fail(CodeKeyReused, "this Idempotency-Key was another request's")
	}
	if status := binary.BigEndian.Uint16(there[len(k.print):]); status != 0 {
		return &answer{int(status), there[statusEnd:]}, nil
	}
	if len(there) < len(k.pending) || time.Since(time.UnixMilli(int64(binary.BigEndian.Uint64(there[statusEnd:])))) > unknownTime {
		return nil, fail(CodeOutcomeUnknown, "the same request was begun before, and nobody knows what became of it; it is not done again under this key")
	}
	return nil, nil
}

// value is what keeps an answer.
func (k *claim) value(a answer) []byte {
	if len(a.body) > maxKept {
		a = problem(fail(CodeTooLarge, "it was done before; its answer was too large to be kept"), nil)
	}
	kept := binary.BigEndian.AppendUint16(append([]byte(nil), k.print[:]...), uint16(a.status))
	return append(kept, a.body...)
}

// once does a request, or gives the answer that it had.
func (s *Server) once(ctx context.Context, key string, c *caller, method string, body []byte, do func() (answer, Code)) (answer, *Error) {
	if !keyPattern.MatchString(key) {
		return answer{}, fail(CodeBadRequest, "an Idempotency-Key has 1 to 128 printable ASCII characters")
	}
	if !s.keeping.left() {
		return answer{}, fail(CodeUnavailable, "too many answers wait to be kept; nothing was done")
	}
	k := newClaim(c, key, method, body)
	if known, e := s.take(ctx, k); known != nil || e != nil {
		if e != nil {
			return answer{}, e
		}
		return *known, nil
	}
	if !c.kept.left(time.Now()) {
		e := fail(CodeKeysFull, "what is kept for this token's Idempotency-Keys has reached push.kept_bytes; nothing was done")
		s.keep(ctx, k, c, answer{}, e.Code)
		return answer{}, e
	}
	a, code := do()
	s.keep(ctx, k, c, a, code)
	return a, nil
}

// take claims a key. It gives the answer of the request that had it before; while that one is under way it waits.
func (s *Server) take(ctx context.Context, k *claim) (*answer, *Error) {
	for end := time.Now().Add(waitTime); ; {
		there, err := s.hold(ctx, k)
		switch {
		case err != nil: // it may have been claimed all the same
			s.keeping.add(k, func(ctx context.Context) error { return s.cfg.Store.Remove(ctx, k.name, k.pending) })
			code := CodeUnavailable
			if errors.Is(err, ErrStoreFull) {
				code = CodeBusy
			}
			return nil, fail(code, "the Idempotency-Key cannot be kept; nothing was done")
		case there == nil:
			return nil, nil
		}
		if a, e := k.read(there); a != nil || e != nil {
			return a, e
		}
		select {
		case <-time.After(waitStep):
		case <-ctx.Done():
			end = time.Time{}
		}
		if time.Now().After(end) {
			return nil, fail(CodeInProgress, "the same request is still under way")
		}
	}
}

// hold claims a key and makes the claim durable: nothing is done before that, so that nothing is done twice even if the
// store dies. there is what another request has put under the key; nil = it is held.
func (s *Server) hold(ctx context.Context, k *claim) (there []byte, err error) {
	there, err = s.cfg.Store.Claim(ctx, k.name, k.pending, onceTime)
	if err != nil || there != nil && !bytes.Equal(there, k.pending) { // equal: the Store's client had to ask twice
		return there, err
	}
	return nil, s.cfg.Store.Durable(ctx)
}

// keep puts the answer in the place of the claim, or removes the claim of what was not done. What fails is tried again behind
// the request.
func (s *Server) keep(ctx context.Context, k *claim, c *caller, a answer, code Code) {
	write := func(ctx context.Context) error { return s.cfg.Store.Remove(ctx, k.name, k.pending) }
	if !code.undone() && code.Status() >= http.StatusInternalServerError {
		value := k.value(a)
		c.kept.add(time.Now(), len(k.name)+len(value))
		write = func(ctx context.Context) error {
			if err := s.cfg.Store.Put(ctx, k.name, value, onceTime); err != nil {
				return err
			}
			return s.cfg.Store.Durable(ctx)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime) // whoever still waits for it
	defer cancel()
	if err := write(ctx); err != nil {
		s.warn("the answer to a request with an Idempotency-Key is written again", err)
		s.keeping.add(k, write)
	}
}
