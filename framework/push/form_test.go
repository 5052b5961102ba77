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
	t.Parallel()
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
		{"everyone", "GET", "type=publish&to=&content=hi", "", "", 200, "ok", "SendToAll " + push("hi"), ""},
		{"everyone, without to", "GET", "type=publish&content=", "", "", 200, "ok", "SendToAll " + push(""), ""},
		{"without content", "GET", "type=publish", "", "", 200, "fail", "", "content is missing"},
		{"content as a file", "POST", "", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\npublish\r\n--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"x\"\r\n\r\nhi\r\n--b--", 200, "fail", "", "is a file"},
		{"nobody", "GET", "type=publish&to=0&content=hi", "", "", 200, "offline", "", ""},
		{"another type", "GET", "type=other&to=7", "", "", 200, "fail", "", "type must be publish"},
		{"nothing", "GET", "", "", "", 200, "fail", "", "type must be publish"},
		{"taken literally", "POST", "", encoded, "type=publish&content=a;b=50%&to=7", 200, "ok", "Reach 7 " + push("a;b=50%"), ""},
		{"a percent sign and one digit", "GET", "type=publish&content=%4&to=7", "", "", 200, "ok", "Reach 7 " + push("%4"), ""},
		{"no hex digits", "GET", "type=publish&content=%zz%e4%bd%a0&to=%37", "", "", 200, "ok", "Reach 7 " + push("%zz你"), ""},
		{"empty pairs", "GET", "&type=publish&&content=x&to=7&", "", "", 200, "ok", "Reach 7 " + push("x"), ""},
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
	// A body for one user that is cut anywhere does not become one for all.
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

// A recipient that the form does not understand, however it is given, never makes a message one for
// everybody.
func TestFormRecipient(t *testing.T) {
	h := serve(t, Config{})
	const encoded, base = "application/x-www-form-urlencoded", "type=publish&content=private"
	part := func(name, extra, value string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"" + extra + "\r\n\r\n" + value + "\r\n"
	}
	multi := part("type", "", "publish") + part("content", "", "private")
	for _, tc := range []struct{ name, method, query, kind, body string }{
		{"JSON", "POST", base, "application/json", `{"to":"7"}`},
		{"plain text", "POST", base, "text/plain", "to=7"},
		{"no type", "POST", base, "", "to=7"},
		{"a type that cannot be read", "POST", base, "application/", "to=7"},
		{"XML, all of it", "POST", "", "application/xml", base + "&to=7"},
		{"JSON that says to be a form", "POST", base, encoded, `{"to":"7"}`},
		{"to in the body, the rest in the query", "POST", base, encoded, "to=7"},
		{"to in the query, the rest in the body", "POST", "to=7", encoded, base},
		{"to in both", "POST", base + "&to=7", encoded, base + "&to=7"},
		{"an empty to in the body", "POST", base + "&to=7", encoded, "to="},
		{"the body of a GET", "GET", base, encoded, "to=7"},
		{"all in the body of a GET", "GET", "", encoded, base + "&to=7"},
		{"uid", "GET", base + "&uid=7", "", ""},
		{"upper case", "GET", base + "&TO=7", "", ""},
		{"upper case, and nobody", "GET", base + "&to=&TO=7", "", ""},
		{"a space before", "GET", base + "&+to=7", "", ""},
		{"a space after the name", "POST", "", encoded, base + "&to%20=7"},
		{"without a value", "GET", base + "&to[0]", "", ""},
		{"twice", "GET", base + "&to=7&to=8", "", ""},
		{"twice the same", "GET", base + "&to=7&to=7", "", ""},
		{"twice, one empty", "POST", "", encoded, base + "&to=&to=7"},
		{"twice empty", "GET", base + "&to=&to=", "", ""},
		{"names by key", "GET", base + "&to[a]=7", "", ""},
		{"a list of lists", "GET", base + "&to[0][0]=7", "", ""},
		{"a list with an empty one", "GET", base + "&to[]=7&to[]=", "", ""},
		{"an empty list", "GET", base + "&to[]=", "", ""},
		{"one index twice", "GET", base + "&to[0]=7&to[0]=8", "", ""},
		{"a text and a list", "GET", base + "&to=&to[]=7", "", ""},
		{"a list of too many", "GET", base + strings.Repeat("&to[]=7", 101), "", ""},
		{"commas", "GET", base + "&to=7,8", "", ""},
		{"a JSON list", "GET", base + `&to=["7"]`, "", ""},
		{"a space", "GET", base + "&to=+", "", ""},
		{"a line's end", "POST", "", encoded, base + "&to=7\n"},
		{"not UTF-8", "GET", base + "&to=%ff", "", ""},
		{"semicolon", "GET", base + ";to=7", "", ""},
		{"an entity's semicolon", "GET", base + "&amp;to=7", "", ""},
		{"another field", "GET", base + "&room=A", "", ""},
		{"no name", "GET", base + "&=7", "", ""},
		{"multipart, upper case", "POST", "", "multipart/form-data; boundary=b", multi + part("TO", "", "7") + "--b--\r\n"},
		{"multipart, twice", "POST", "", "multipart/form-data; boundary=b", multi + part("to", "", "7") + part("to", "", "8") + "--b--\r\n"},
		{"multipart, a file", "POST", "", "multipart/form-data; boundary=b", multi + part("to", `; filename="x"`, "7") + "--b--\r\n"},
		{"multipart, no file", "POST", "", "multipart/form-data; boundary=b", multi + part("to", `; filename=""`, "") + "--b--\r\n"},
		{"multipart and query", "POST", "to=7", "multipart/form-data; boundary=b", multi + "--b--\r\n"},
		{"multipart, after its end", "POST", "", "multipart/form-data; boundary=b", multi + "--b--\r\n" + part("to", "", "7") + "--b--\r\n"},
		{"multipart, before its beginning", "POST", "", "multipart/form-data; boundary=b", "to=7\r\n" + multi + "--b--\r\n"},
		{"multipart of another kind", "POST", "", "multipart/mixed; boundary=b", multi + part("to", "", "7") + "--b--\r\n"},
		{"multipart, an attachment", "POST", "", "multipart/form-data; boundary=b", multi + "--b\r\nContent-Disposition: attachment; name=to\r\n\r\n7\r\n--b--\r\n"},
		{"multipart, another boundary", "POST", base, "multipart/form-data; boundary=c", multi + part("to", "", "7") + "--b--\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, text, header := h.do(tc.method, "/?"+strings.ReplaceAll(tc.query, " ", "+"), tc.body, "Content-Type: "+tc.kind)
			done := h.backend.said()
			// The semicolon belongs to the content, so this is for everybody, as in PHP.
			if tc.name == "semicolon" {
				if text != "ok" || len(done) != 1 || !strings.Contains(done[0], "private;to=7") {
					t.Errorf("got %d %q %q", status, text, done)
				}
				return
			}
			if status != 200 || text != "fail" || len(done) > 0 || !strings.Contains(header.Get("message"), "badRequest: ") {
				t.Errorf("got %d %q %q %q", status, text, done, header.Get("message"))
			}
		})
	}
}

// A list as PHP writes it reaches each of its users once.
func TestFormList(t *testing.T) {
	h := serve(t, Config{})
	const encoded = "application/x-www-form-urlencoded"
	for _, tc := range []struct {
		list, want string
		reached    int
	}{
		{"to%5B0%5D=7&to%5B1%5D=9", "ok", 1},
		{"to[]=9&to[]=7", "ok", 1},
		{"to[5]=7&to[3]=7", "ok", 1},
		{"to[]=9&to[]=8", "offline", 0},
		{"to[]=a+b&to[]=7", "fail", 0},
	} {
		for _, posted := range []bool{false, true} {
			method, query, body := "GET", tc.list+"&type=publish&content=x", ""
			if posted {
				method, query, body = "POST", "", query
			}
			_, text, _ := h.do(method, "/?"+query, body, "Content-Type: "+encoded)
			if done := h.backend.said(); text != tc.want || len(done) != tc.reached {
				t.Errorf("%s: %s %q", tc.list, text, done)
			}
		}
	}
	h.backend.fail = fail(CodePartial, "not all nodes have answered")
	if _, text, header := h.do("GET", "/?type=publish&content=x&to[]=7&to[]=9", ""); text != "fail" || !strings.Contains(header.Get("message"), "1 of 2 users have taken it") {
		t.Errorf("got %s %v", text, header)
	}
	limited := serve(t, Config{RateLimit: 10})
	if status, text, _ := limited.do("GET", "/?type=publish&content=x&to[]=1&to[]=2&to[]=3&to[]=4&to[]=5&to[]=6&to[]=7&to[]=8&to[]=9&to[]=10&to[]=11&to[]=12", ""); status != 429 || text != "fail" {
		t.Errorf("got %d %s", status, text)
	}
}
