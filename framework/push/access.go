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

// Token lets who shows it as "Authorization: Bearer VALUE" do what its scopes allow.
type Token struct {
	Value  string
	Scopes []string // none = all
}

// ParseToken reads the configuration's "SECRET send read".
func ParseToken(text string) (Token, error) {
	words := strings.Fields(text)
	if len(words) == 0 || len(words[0]) < 16 {
		return Token{}, fmt.Errorf("a token has at least 16 bytes, and its scopes behind it")
	}
	for _, scope := range words[1:] {
		if !slices.Contains(scopes, scope) {
			return Token{}, fmt.Errorf("%q is no scope: they are %s", scope, strings.Join(scopes, ", "))
		}
	}
	return Token{words[0], words[1:]}, nil
}

// caller is somebody whom the server knows.
type caller struct {
	name   string // for Idempotency-Keys: they are the caller's own
	scopes []string
	rate   *bucket
	kept   *quota
}

// spend takes n requests from the caller's rate; remark follows the limit in the error.
func (c *caller) spend(n int, remark string) *Error {
	if !c.rate.allow(n) {
		return fail(CodeRateLimited, "more than %d requests a second%s", c.rate.limiter.Burst(), remark)
	}
	return nil
}

func (c *caller) may(scope string) bool {
	return len(c.scopes) == 0 || slices.Contains(c.scopes, scope)
}

// access tells who calls. Without any token only this machine's processes are let in, and no web page: neither one that a browser
// of this machine shows, nor one behind a name that was made to point here, nor what a proxy passes on.
type access struct {
	sums    [][sha256.Size]byte
	callers []*caller
	local   *caller // nil where there are tokens
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
	ok = ok && len(r.Header["Authorization"]) == 1 && strings.EqualFold(scheme, "Bearer") // RFC 9110 section 11.1
	sum := sha256.Sum256([]byte(value))
	var found *caller
	for i := range a.sums { // all of them, however soon it is found
		if subtle.ConstantTimeCompare(sum[:], a.sums[i][:]) == 1 {
			found = a.callers[i]
		}
	}
	if !ok || found == nil {
		return nil, fail(CodeUnauthorized, "a token is needed: Authorization: Bearer TOKEN")
	}
	return found, nil
}

// browsers and proxies are known by these headers. Programs send none of them by themselves: not curl, PHP, Java or Go.
var browsers = []string{"Origin", "Referer", "Cookie", "Accept-Language", "X-Forwarded-For", "X-Real-Ip", "Forwarded", "Via"}

// foreign tells why a request does not come from a process of this machine. A header counts wherever it stands and whatever it
// holds: a page can have its request carry one more, or follow a redirect as if its address had been typed.
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
		return "this one comes from elsewhere"
	}
	if !socket.IsLoopback(r.Host) {
		return "this one is for another host"
	}
	return ""
}
