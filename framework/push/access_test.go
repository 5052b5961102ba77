package push

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestAccess(t *testing.T) {
	open := serve(t, Config{})
	for _, line := range []string{
		"Origin: http://127.0.0.1:2121", "Origin: null", "Origin: ", "X-Forwarded-For: 1.2.3.4", "X-Real-IP: 127.0.0.1", "Forwarded: for=x", "Via: 1.1 x", "Host: evil.example:2121",
		"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "sec-fetch-dest: image", "Referer: https://evil.example/", "Cookie: a=b", "Accept-Language: zh-CN",
		"User-Agent: Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.50",
	} {
		open.want(403, `"forbidden"`)(open.post("counts", `{}`, line))
		if status, text, header := open.do("GET", "/?type=publish&content=x", "", line); status != 403 || text != "fail" || !strings.Contains(header.Get("message"), "forbidden") {
			t.Errorf("%s: %d %s", line, status, text)
		}
	}
	for _, lines := range [][]string{
		{"Host: localhost:2121"}, {"Host: [::1]:2121"}, {"Host: 127.0.0.1"}, {"User-Agent: curl/7.88.1", "Accept: */*"}, {"User-Agent: GuzzleHttp/7"},
		{"User-Agent: Java-http-client/17.0.9", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"},
		{"User-Agent: Java/1.8.0_392", "Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}, {"User-Agent: Apache-HttpClient/4.5.14 (Java/17)", "Accept-Encoding: gzip,deflate"},
	} {
		open.want(200, `"result"`)(open.post("counts", `{}`, lines...))
	}
	if got := open.backend.said(); len(got) != 8 {
		t.Error(got)
	}
	// Each value of a repeated header counts.
	for _, more := range []string{"X-Forwarded-For", "Origin", "Sec-Fetch-Site", "User-Agent"} {
		r := &http.Request{RemoteAddr: "127.0.0.1:5", Host: "127.0.0.1", Header: http.Header{more: {"", "Mozilla/5.0"}}}
		if _, e := open.door.access.of(r); e == nil || e.Code != CodeForbidden {
			t.Errorf("a second %s: %v", more, e)
		}
	}
	r := &http.Request{RemoteAddr: "192.0.2.1:5", Host: "127.0.0.1", Header: http.Header{}}
	if _, e := open.door.access.of(r); e == nil || e.Code != CodeForbidden {
		t.Errorf("a stranger: %v", e)
	}

	h := serve(t, Config{Tokens: []Token{{"send-0123456789ab", []string{ScopeSend}}, {"read-0123456789ab", []string{ScopeRead}}, {"all-00123456789ab", nil}}})
	for _, tc := range []struct {
		token  string
		status [3]int // of sendToAll, counts, kick
	}{
		{"", [3]int{401, 401, 401}},
		{"Bearer wrong-0123456789ab", [3]int{401, 401, 401}},
		{"Bearer send-0123456789a", [3]int{401, 401, 401}},
		{"Bearer ", [3]int{401, 401, 401}},
		{"Basic send-0123456789ab", [3]int{401, 401, 401}},
		{"Bearer send-0123456789ab", [3]int{200, 403, 403}},
		{"bearer send-0123456789ab", [3]int{200, 403, 403}},
		{"BEARER all-00123456789ab", [3]int{200, 200, 200}},
		{"Bearersend-0123456789ab", [3]int{401, 401, 401}},
		{"Bearer read-0123456789ab", [3]int{403, 200, 403}},
		{"Bearer all-00123456789ab", [3]int{200, 200, 200}},
	} {
		for i, call := range [][2]string{{"sendToAll", `{"event":"e"}`}, {"counts", `{}`}, {"kick", `{"fd":1}`}} {
			h.want(tc.status[i], "")(h.post(call[0], call[1], "Authorization: "+tc.token, "Origin: https://a.example"))
		}
		status, text, _ := h.do("GET", "/?type=publish&content=x", "", "Authorization: "+tc.token)
		if want := tc.status[0]; status != want || (text == "ok") != (want == 200) {
			t.Errorf("%s: the form answers %d %s", tc.token, status, text)
		}
	}
}

func TestParseToken(t *testing.T) {
	for text, want := range map[string]string{
		"0123456789abcdef":                   "[0123456789abcdef []]",
		" 0123456789abcdef  send  read ":     "[0123456789abcdef [send read]]",
		"":                                   "at least 16 bytes",
		"short":                              "at least 16 bytes",
		"0123456789abcdef send,read":         `"send,read" is no scope`,
		"0123456789abcdef manage everything": `"everything" is no scope`,
	} {
		token, err := ParseToken(text)
		if got := fmt.Sprint([]any{token.Value, token.Scopes}, err); !strings.Contains(got, want) {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestRate(t *testing.T) {
	h := serve(t, Config{RateLimit: 20})
	var limited int
	for range 60 {
		if status, _ := h.post("counts", `{}`); status == 429 {
			limited++
		}
	}
	if limited == 0 {
		t.Error("60 requests at once, but 20 a second, were all let in")
	}
	b := newBucket(10)
	if !b.allow(100) || b.allow(1) {
		t.Error("a batch larger than the rate takes all, and is let in")
	}
	if free := newBucket(0); !free.allow(1e6) {
		t.Error("0 is no limit")
	}
}
