package push

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"wsframe/library/socket"
)

// Token gives its scopes to requests with the header "Authorization: Bearer VALUE".
type Token struct {
	Value  string
	Scopes []string // none = all
}

// ParseToken reads a token as the configuration has it: "SECRET send read".
func ParseToken(text string) (Token, error) {
	words := strings.Fields(text)
	if len(words) == 0 || len(words[0]) < 16 {
		return Token{}, fmt.Errorf("a token has at least 16 bytes, and is followed by its scopes")
	}
	for _, scope := range words[1:] {
		if !slices.Contains(scopes, scope) {
			return Token{}, fmt.Errorf("%q is no scope: they are %s", scope, strings.Join(scopes, ", "))
		}
	}
	return Token{words[0], words[1:]}, nil
}

// caller is the bearer of a token, or a process of this machine where there are no tokens.
type caller struct {
	name   string // keeps its Idempotency-Keys apart from others'
	scopes []string
	rate   *bucket
	kept   *quota
}

// spend takes n requests from the caller's rate. remark follows the limit in the error's message.
func (c *caller) spend(n int, remark string) *Error {
	if !c.rate.allow(n) {
		return fail(CodeRateLimited, "more than %d requests a second%s", c.rate.limiter.Burst(), remark)
	}
	return nil
}

func (c *caller) may(scope string) bool {
	return len(c.scopes) == 0 || slices.Contains(c.scopes, scope)
}

// access finds the caller of a request. Without any token, only processes of this machine may call.
// Web pages may not, whether a browser of this machine shows them or a name was made to point here
// (DNS rebinding); and neither may requests by a proxy.
type access struct {
	sums    [][sha256.Size]byte
	callers []*caller
	local   *caller // nil = there are tokens
}

func newAccess(tokens []Token, perSecond, kept int) *access {
	a := &access{}
	for _, t := range tokens {
		sum := sha256.Sum256([]byte(t.Value))
		a.sums = append(a.sums, sum)
		a.callers = append(a.callers, &caller{fmt.Sprintf("%x", sum[:8]), t.Scopes, newBucket(perSecond), &quota{max: kept}})
	}
	if len(tokens) == 0 {
		a.local = &caller{"local", nil, newBucket(perSecond), &quota{max: kept}}
	}
	return a
}

func (a *access) of(r *http.Request) (*caller, *Error) {
	if a.local != nil {
		if why := foreign(r); why != "" {
			return nil, fail(CodeForbidden, "no token is configured (push.tokens), so only processes of this machine are served: %s", why)
		}
		return a.local, nil
	}
	scheme, value, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	// The scheme has no case (RFC 9110 section 11.1).
	ok = ok && len(r.Header["Authorization"]) == 1 && strings.EqualFold(scheme, "Bearer")
	sum := sha256.Sum256([]byte(value))
	var found *caller
	for i := range a.sums { // all, so that the time does not depend on the token
		if subtle.ConstantTimeCompare(sum[:], a.sums[i][:]) == 1 {
			found = a.callers[i]
		}
	}
	if !ok || found == nil {
		return nil, fail(CodeUnauthorized, "a token is needed: Authorization: Bearer TOKEN")
	}
	return found, nil
}

// browsers are headers that browsers and proxies send, and programs do not by themselves: not curl,
// PHP, Java or Go.
var browsers = []string{"Origin", "Referer", "Cookie", "Accept-Language", "X-Forwarded-For", "X-Real-Ip", "Forwarded", "Via"}

// foreign returns why a request does not come from a process of this machine, or "". Any value of a
// header counts, an empty one too: a page can add one to its request, or have the browser follow a
// redirect as if the address had been typed.
func foreign(r *http.Request) string {
	for _, name := range browsers {
		if len(r.Header[name]) > 0 {
			return "this request has the header " + name
		}
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Sec-Fetch-") {
			return "this request has the header " + name
		}
	}
	for _, agent := range r.Header["User-Agent"] {
		if strings.HasPrefix(agent, "Mozilla/") {
			return "this request's User-Agent is a browser's"
		}
	}
	if !socket.IsLoopback(r.RemoteAddr) {
		return "this request does not come from this machine"
	}
	if !socket.IsLoopback(r.Host) {
		return "this request is for another host"
	}
	return ""
}
