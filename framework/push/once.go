package push

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"regexp"
	"time"
)

// Store is a memory that all nodes share. Values expire.
type Store interface {
	// Claim keeps value under key where there is none, and otherwise gives what is there.
	Claim(ctx context.Context, key string, value []byte, age time.Duration) (there []byte, err error)
	Put(ctx context.Context, key string, value []byte, age time.Duration) error
	Remove(ctx context.Context, key string) error
}

// A request with an Idempotency-Key is claimed in the Store before anything is done, and its answer is kept there: two calls to Redis. So
// it is done once, whatever node gets it again, through reloads. A second request while the first is under way waits for its answer.
// What was not done is not kept: the key may come again. Where the server dies between doing and keeping, nobody knows whether it was
// done: it counts as not done after pendingTime.
const (
	maxKept     = 64 << 10 // bytes of an answer; of a larger one only that it was done
	onceTime    = 10 * time.Minute
	pendingTime = time.Minute
	waitTime    = 5 * time.Second
	waitStep    = 50 * time.Millisecond
)

var keyPattern = regexp.MustCompile(`^[\x21-\x7e]+$`)

// answer is what goes out.
type answer struct {
	status int
	body   []byte
}

// once does a request, or gives the answer that it had.
func (s *Server) once(ctx context.Context, key string, c *caller, method string, body []byte, do func() (answer, Code)) (answer, *Error) {
	if len(key) > 128 || !keyPattern.MatchString(key) {
		return answer{}, fail(CodeBadRequest, "an Idempotency-Key has 1 to 128 printable ASCII characters")
	}
	sum := sha256.Sum256([]byte(c.name + "\n" + key))
	name := "ONCE:" + hex.EncodeToString(sum[:16])
	print := sha256.Sum256(append([]byte(method+"\n"), body...))
	pending := append(print[:], 0, 0)
	for end := time.Now().Add(waitTime); ; {
		there, err := s.cfg.Store.Claim(ctx, name, pending, pendingTime)
		if err != nil {
			return answer{}, fail(CodeUnavailable, "the Idempotency-Key cannot be kept; nothing was done")
		}
		if there == nil {
			break
		}
		if len(there) < len(pending) || !bytes.Equal(there[:len(print)], print[:]) {
			return answer{}, fail(CodeKeyReused, "this Idempotency-Key was another request's")
		}
		if status := binary.BigEndian.Uint16(there[len(print):]); status != 0 {
			return answer{int(status), there[len(pending):]}, nil
		}
		if time.Now().After(end) {
			return answer{}, fail(CodeInProgress, "the same request is still under way")
		}
		select {
		case <-time.After(waitStep):
		case <-ctx.Done():
			return answer{}, fail(CodeInProgress, "the same request is still under way")
		}
	}
	a, code := do()
	// What was done must be kept, whoever still waits for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), waitTime)
	defer cancel()
	var err error
	if code.undone() || code.Status() < http.StatusInternalServerError {
		err = s.cfg.Store.Remove(ctx, name)
	} else {
		k := a
		if len(k.body) > maxKept {
			k = problem(fail(CodeTooLarge, "it was done before; its answer was too large to be kept"), nil)
		}
		kept := binary.BigEndian.AppendUint16(append([]byte(nil), print[:]...), uint16(k.status))
		err = s.cfg.Store.Put(ctx, name, append(kept, k.body...), onceTime)
	}
	if err != nil {
		s.warn("the answer to a request with an Idempotency-Key cannot be kept", err)
	}
	return a, nil
}
