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

const (
	// maxKept bounds a kept response in bytes. Of a larger one, only that the request was done is
	// kept.
	maxKept = 64 << 10
	// unknownTime is the age of a claim whose request has certainly ended.
	unknownTime = callTime + 5*time.Second
	// waitTime is how long a request waits for the response to the same one before it.
	waitTime = 5 * time.Second
	waitStep = 50 * time.Millisecond
)

var keyPattern = regexp.MustCompile(`^[\x21-\x7e]{1,128}$`)

// claim is one request's hold on its Idempotency-Key.
//
// A value in the Store begins with the hash of the request and the status of its response, and ends
// with the response. Status 0 means no response yet: then the time of the claim follows, and a
// random number by which the claim is recognized.
type claim struct {
	name    string // of the key in the Store
	hash    [sha256.Size]byte
	pending []byte // the value until the response
	expires time.Time
	quota   *quota
}

const statusEnd = sha256.Size + 2

func newClaim(c *caller, key, method string, body []byte) (*claim, *Error) {
	if !keyPattern.MatchString(key) {
		return nil, fail(CodeBadRequest, "an Idempotency-Key has 1 to 128 printable ASCII characters")
	}
	sum := sha256.Sum256([]byte(c.name + "\n" + key))
	now := time.Now()
	k := &claim{name: "ONCE:" + hex.EncodeToString(sum[:16]), hash: sha256.Sum256(append([]byte(method+"\n"), body...)), expires: now.Add(onceTime), quota: c.kept}
	k.pending = binary.BigEndian.AppendUint64(append(k.hash[:], 0, 0), uint64(now.UnixMilli()))
	k.pending = append(k.pending, rand.Text()[:8]...)
	return k, nil
}

// response decodes the value of another request. It is nil while that request is under way.
func (k *claim) response(value []byte) (*response, *Error) {
	if len(value) < statusEnd || !bytes.Equal(value[:len(k.hash)], k.hash[:]) {
		return nil, fail(CodeKeyReused, "this Idempotency-Key was another request's")
	}
	if status := binary.BigEndian.Uint16(value[len(k.hash):]); status != 0 {
		return &response{int(status), value[statusEnd:]}, nil
	}
	if len(value) < len(k.pending) || time.Since(time.UnixMilli(int64(binary.BigEndian.Uint64(value[statusEnd:])))) > unknownTime {
		return nil, fail(CodeOutcomeUnknown, "the same request was begun before, and nobody knows what became of it; it is not done again under this key")
	}
	return nil, nil
}

// value encodes a response for the Store.
func (k *claim) value(a response) []byte {
	if len(a.body) > maxKept {
		a = problem(fail(CodeTooLarge, "it was done before; its answer was too large to be kept"), nil)
	}
	value := binary.BigEndian.AppendUint16(append([]byte(nil), k.hash[:]...), uint16(a.status))
	return append(value, a.body...)
}

// once does requests with an Idempotency-Key one time in ten minutes.
//
// A request is claimed in the Store before anything is done, and its response replaces the claim. A
// claim expires when a response would: where the server dies in between, or the response cannot be
// written, the outcome counts as unknown and the request is never done again. The claim of a
// request that has certainly done nothing is removed, and its key may be used again.
type once struct {
	store   Store
	retries *retrier
	report  *reporter
}

// do does a request, or returns the response to the same request before it.
func (o *once) do(ctx context.Context, k *claim, do func() (response, Code)) (response, *Error) {
	if !o.retries.hasRoom() {
		return response{}, fail(CodeUnavailable, "too many answers wait to be kept; nothing was done")
	}
	if known, e := o.acquire(ctx, k); known != nil || e != nil {
		if e != nil {
			return response{}, e
		}
		return *known, nil
	}
	if !k.quota.hasRoom(time.Now()) {
		e := fail(CodeKeysFull, "what is kept for this token's Idempotency-Keys has reached push.kept_bytes; nothing was done")
		o.keep(ctx, k, response{}, e.Code)
		return response{}, e
	}
	a, code := do()
	o.keep(ctx, k, a, code)
	return a, nil
}

// acquire claims a key. Where another request has it, acquire waits for that one's response and
// returns it.
func (o *once) acquire(ctx context.Context, k *claim) (*response, *Error) {
	for end := time.Now().Add(waitTime); ; {
		there, err := o.hold(ctx, k)
		switch {
		case err != nil: // the claim may be in the Store all the same
			o.retries.add(k.expires, func(ctx context.Context) error { return o.store.Remove(ctx, k.name, k.pending) })
			code := CodeUnavailable
			if errors.Is(err, ErrStoreFull) {
				code = CodeBusy
			}
			return nil, fail(code, "the Idempotency-Key cannot be kept; nothing was done")
		case there == nil:
			return nil, nil
		}
		if a, e := k.response(there); a != nil || e != nil {
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

// hold puts a claim into the Store and makes it durable, so that nothing is done twice even if the
// Store dies. It returns the value of another request that holds the key, or nil.
func (o *once) hold(ctx context.Context, k *claim) (there []byte, err error) {
	there, err = o.store.Claim(ctx, k.name, k.pending, onceTime)
	// An equal value is this claim, where the Store's client had to ask twice.
	if err != nil || there != nil && !bytes.Equal(there, k.pending) {
		return there, err
	}
	return nil, o.store.Durable(ctx)
}

// keep replaces the claim by the response, or removes the claim of a request that has done nothing.
// A write that fails is repeated after the request.
func (o *once) keep(ctx context.Context, k *claim, a response, code Code) {
	write := func(ctx context.Context) error { return o.store.Remove(ctx, k.name, k.pending) }
	if !code.undone() && code.Status() >= http.StatusInternalServerError {
		value := k.value(a)
		k.quota.add(time.Now(), len(k.name)+len(value))
		write = func(ctx context.Context) error {
			if err := o.store.Put(ctx, k.name, value, onceTime); err != nil {
				return err
			}
			return o.store.Durable(ctx)
		}
	}
	// The client may still wait for the response.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	if err := write(ctx); err != nil {
		o.report.warn("the answer to a request with an Idempotency-Key is written again", err)
		o.retries.add(k.expires, write)
	}
}
