package push

import (
	"bytes"
	"errors"
	"mime/multipart"
	"net/url"
	"strings"
	"testing"
)

func TestForm(t *testing.T) {
	h := serve(t, Config{MaxBody: 2048})
	multi := &bytes.Buffer{}
	w := multipart.NewWriter(multi)
	for name, value := range map[string]string{"type": "publish", "to": "7", "content": "multi"} {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const encoded = "application/x-www-form-urlencoded"
	push := func(text string) string { return `{"event":"new_msg","param":"` + text + `"}` }
	for _, tc := range []struct {
		name, method, query, kind, body string
		status                          int
		want, done, why                 string
	}{
		{"query", "GET", "type=publish&to=7&content=hi+%E4%BD%A0%E5%A5%BD", "", "", 200, "ok", "Reach 7 " + push("hi 你好"), ""},
		{"form", "POST", "", encoded, "type=publish&to=7&content=hi", 200, "ok", "Reach 7 " + push("hi"), ""},
		{"multipart, as PHP's curl sends arrays", "POST", "", w.FormDataContentType(), multi.String(), 200, "ok", "Reach 7 " + push("multi"), ""},
		{"query of a POST", "POST", "type=publish&to=7&content=hi", "", "", 200, "ok", "Reach 7 " + push("hi"), ""},
		{"body before query", "POST", "type=publish&to=8&content=no", encoded, "to=7&content=yes", 200, "ok", "Reach 7 " + push("yes"), ""},
		{"everyone", "GET", "type=publish&to=&content=hi", "", "", 200, "ok", "SendToAll " + push("hi"), ""},
		{"everyone, without to", "GET", "type=publish&content=", "", "", 200, "ok", "SendToAll " + push(""), ""},
		{"without content", "GET", "type=publish", "", "", 200, "fail", "", "content is missing"},
		{"content as a file", "POST", "", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\npublish\r\n--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"x\"\r\n\r\nhi\r\n--b--", 200, "fail", "", "content is missing"},
		{"multipart with an epilogue", "POST", "", w.FormDataContentType(), multi.String() + "more", 200, "ok", "Reach 7 " + push("multi"), ""},
		{"nobody", "GET", "type=publish&to=0&content=hi", "", "", 200, "offline", "", ""},
		{"another type", "GET", "type=other&to=7", "", "", 200, "fail", "", "type must be publish"},
		{"nothing", "GET", "", "", "", 200, "fail", "", "type must be publish"},
		{"malformed", "POST", "", encoded, "type=publish&content=%zz", 200, "fail", "", "malformed"},
		{"malformed multipart", "POST", "", "multipart/form-data", "x", 200, "fail", "", "malformed"},
		{"not UTF-8", "GET", "type=publish&content=%ff", "", "", 200, "fail", "", "not UTF-8"},
		{"uid", "GET", "type=publish&to=a+b&content=hi", "", "", 200, "fail", "", "to must match"},
		{"long uid", "GET", "type=publish&content=hi&to=" + strings.Repeat("x", 65), "", "", 200, "fail", "", "to must have at most 64 characters"},
		{"too large", "POST", "", encoded, "type=publish&content=" + strings.Repeat("x", 2048), 413, "fail", "", "tooLarge"},
		{"another method", "PUT", "type=publish&content=hi", "", "", 405, "fail", "", "GET or POST"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, text, header := h.do(tc.method, "/?"+tc.query, tc.body, "Content-Type: "+tc.kind)
			done := strings.Join(h.backend.said(), "; ")
			if status != tc.status || text != tc.want || done != tc.done || !strings.Contains(header.Get("message"), tc.why) {
				t.Errorf("got %d %q %q %q", status, text, done, header.Get("message"))
			}
		})
	}
	// Wherever a body for one user is cut, it does not become one for all.
	form := "--b\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\npublish\r\n--b\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\nprivate\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\n7\r\n--b--\r\n"
	for _, boundary := range []string{"b", `"b"`} {
		for n := range len(form) {
			_, text, _ := h.do("POST", "/", form[:n], "Content-Type: multipart/form-data; boundary="+boundary)
			if done := h.backend.said(); text != "fail" && n < len(form)-2 || len(done) > 0 && !strings.HasPrefix(done[0], "Reach 7 ") {
				t.Errorf("cut after %d bytes: %s %q", n, text, done)
			}
		}
	}
	h.do("POST", "/", url.Values{"type": {"publish"}, "content": {`<b a="1">'&`}}.Encode(), "Content-Type: "+encoded)
	if got := h.backend.said(); len(got) != 1 || !strings.Contains(got[0], `"\u0026lt;b a=\u0026quot;1\u0026quot;\u0026gt;\u0026#039;\u0026amp;"`) {
		t.Errorf("not escaped: %s", got) // \u0026 is the recorder's own
	}
	h.backend.fail = errors.New("secret cause")
	if status, text, header := h.do("GET", "/?type=publish&content=hi", ""); status != 200 || text != "fail" || strings.Contains(header.Get("message"), "secret") {
		t.Errorf("got %d %q %v", status, text, header)
	}
}
