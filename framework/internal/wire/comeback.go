package wire

//go:generate go test . -run TestComebacksInClient -update

// A Comeback says when a client connects again after a close.
type Comeback string

// Comebacks of clients. Only ComebackNow waits for nothing, so a server that closes many
// connections with its code spreads the closes.
const (
	ComebackNow     Comeback = "now"     // at once, unless the try before was such a one
	ComebackBackoff Comeback = "backoff" // after a pause that grows; the first is at random within 3 s
	ComebackLater   Comeback = "later"   // after 10 to 20 s
	ComebackToken   Comeback = "token"   // with another token
	ComebackNever   Comeback = "never"   // when the application or its user asks for it
)

// CloseRule says what a close code means to a client.
type CloseRule struct {
	Code    int
	When    Comeback
	Meaning string // for people; at most a few words
}

// closeRules are the rules of all codes that a client of this server can see, by code. The table in
// wsframe.js is generated from it.
var closeRules = []CloseRule{
	{CloseNormal, ComebackBackoff, "closed by the server"},
	{CloseGoingAway, ComebackBackoff, "the server stops"},
	{CloseProtocolError, ComebackBackoff, "a frame was not valid"},
	{CloseAbnormal, ComebackBackoff, "the connection was lost"},
	{CloseBadData, ComebackBackoff, "a message was not valid"},
	{ClosePolicy, ComebackBackoff, "a rule was broken"},
	{CloseTooLarge, ComebackBackoff, "a message was too large"},
	{CloseInternal, ComebackBackoff, "internal error"},
	{CloseRestart, ComebackNow, "moved to another server process"},
	{CloseIdle, ComebackBackoff, "nothing arrived for too long"},
	{CloseSlow, ComebackBackoff, "this client is too slow"},
	{CloseReplaced, ComebackNever, "the user connected elsewhere"},
	{CloseRefused, ComebackLater, "the user is connected elsewhere"},
	{CloseKicked, ComebackNever, "kicked"},
	{CloseToken, ComebackToken, "the token is missing, wrong or expired"},
	{CloseOrigin, ComebackLater, "the origin of this page is not allowed"},
	{CloseTooMany, ComebackLater, "too many connections"},
}

// ComebackOf returns the rule of a close code. Codes without one, such as those of applications,
// have ComebackBackoff.
func ComebackOf(code int) CloseRule {
	for _, r := range closeRules {
		if r.Code == code {
			return r
		}
	}
	return CloseRule{Code: code, When: ComebackBackoff}
}
