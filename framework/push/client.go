package push

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client calls a Server. Its calls have the arguments and results of the Backend's; the server's
// GET /openapi.json describes them.
//
// Each call has an Idempotency-Key of its own, so that the HTTP client may send it again when a
// connection breaks. The server's errors are *Error. A Client is safe for concurrent use, once HTTP
// is set, and must not be copied.
type Client struct {
	pushCalls
	roomCalls
	userCalls
	sessionCalls
	directoryCalls

	base, token string

	// HTTP sends the requests. The default gives up after 10 s.
	HTTP *http.Client
}

// NewClient makes a Client of the server at base, such as http://127.0.0.1:2121. token is "" where
// none is configured.
func NewClient(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("push: %q is not the address of a server", base)
	}
	c := &Client{base: strings.TrimRight(base, "/"), token: token, HTTP: &http.Client{Timeout: 10 * time.Second}}
	c.pushCalls, c.roomCalls, c.userCalls, c.sessionCalls, c.directoryCalls = pushCalls{c.Call}, roomCalls{c.Call}, userCalls{c.Call}, sessionCalls{c.Call}, directoryCalls{c.Call}
	return c, nil
}

// Call makes any call. params is its body; result, which may be nil, receives the result.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	return c.CallOnce(ctx, rand.Text(), method, params, result)
}

// CallOnce makes a call with a given Idempotency-Key: the server does the same call with the same
// key once in ten minutes, whoever makes it.
func (c *Client) CallOnce(ctx context.Context, key, method string, params, result any) error {
	body, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("push: %s: %w", method, err)
	}
	for try := 1; ; try++ {
		err := c.post(ctx, key, method, body, result)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeUnavailable || try == 3 {
			return err
		}
		select { // a worker that is being replaced has done nothing
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func (c *Client) post(ctx context.Context, key, method string, body []byte, result any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/api/v1/"+url.PathEscape(method), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("push: %s: %w", method, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	status, text, err := c.do(r)
	if err != nil {
		return fmt.Errorf("push: %s: %w", method, err)
	}
	var reply struct {
		Result json.RawMessage
		Error  *Error
	}
	if err := json.Unmarshal(text, &reply); err != nil {
		return fmt.Errorf("push: %s: HTTP %d, which no wsframe server says", method, status)
	}
	if result != nil && len(reply.Result) > 0 {
		if err := json.Unmarshal(reply.Result, result); err != nil {
			return fmt.Errorf("push: %s: %w", method, err)
		}
	}
	if reply.Error != nil {
		return reply.Error
	}
	return nil
}

func (c *Client) do(r *http.Request) (status int, body []byte, err error) {
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.HTTP.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// NewMsg sends text by web-msg-sender's form to a user, or to all where uid is "". The server
// escapes it for HTML. The result is ok, offline or fail.
func (c *Client) NewMsg(ctx context.Context, uid, text string) (string, error) {
	form := url.Values{"type": {"publish"}, "to": {uid}, "content": {text}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/", strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("push: new_msg: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, result, err := c.do(r)
	if err != nil {
		return "", fmt.Errorf("push: new_msg: %w", err)
	}
	return string(result), nil
}
