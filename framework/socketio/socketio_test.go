package socketio

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// recorded is a line of a conversation between socket.io clients and a server of PHP.
type recorded struct {
	Step, To, HTTP, Hex string
	Conn                int
	End                 bool
	Frames              []struct {
		Opcode int
		Text   string
	}
}

func recordings(t testing.TB) (list []recorded) {
	t.Helper()
	f, err := os.Open("testdata/engineio.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r recorded
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// body returns the body of a recorded request or response, and its form.
func (r *recorded) body(t testing.TB) (b []byte, f Form) {
	t.Helper()
	b = []byte(r.HTTP)
	if r.Hex != "" {
		var err error
		if b, err = hex.DecodeString(r.Hex); err != nil {
			t.Fatal(err)
		}
	}
	head, body, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	if bytes.Contains(head, []byte("octet-stream")) {
		f = Binary
	}
	return body, f
}

// All recorded payloads are read, and those of the server are written alike.
func TestRecordedPayloads(t *testing.T) {
	posts, polls := 0, 0
	for _, r := range recordings(t) {
		body, form := r.body(t)
		switch {
		case r.To == "server" && strings.HasPrefix(r.HTTP, "POST ") && strings.Contains(r.HTTP, "sid="):
			packets, err := form.Parse(body)
			if len(body) == 0 || r.Step == "bad_payload" {
				continue
			}
			if err != nil || len(packets) == 0 {
				t.Errorf("%s: %q: %v", r.Step, body, err)
			}
			posts++
		case r.To == "client" && strings.HasPrefix(r.HTTP, "HTTP/1.1 200") && len(body) > 0 && string(body) != "ok" && !strings.Contains(r.HTTP, "text/html"):
			packets, err := form.Parse(body)
			if err != nil {
				t.Errorf("%s: %q: %v", r.Step, body, err)
				continue
			}
			if again := form.Append(nil, packets...); !bytes.Equal(again, body) {
				t.Errorf("%s: %q, want %q", r.Step, again, body)
			}
			polls++
		}
	}
	if posts < 5 || polls < 10 {
		t.Fatalf("only %d POSTs and %d polls were found", posts, polls)
	}
}

// All recorded events are read, and those of the server are written alike.
func TestRecordedEvents(t *testing.T) {
	n := 0
	for _, r := range recordings(t) {
		for _, f := range r.Frames {
			if !strings.HasPrefix(f.Text, "42[") {
				continue
			}
			n++
			p, err := ParsePacket([]byte(f.Text[1:]))
			if err != nil || p.Type != Event || p.Namespace != "/" {
				t.Fatalf("%q: %+v %v", f.Text, p, err)
			}
			name, arguments, err := p.Event(16)
			if err != nil {
				t.Fatalf("%q: %v", f.Text, err)
			}
			var list [][]byte
			for _, a := range arguments {
				list = append(list, a)
			}
			if got := string(AppendEvent(nil, true, name, list...)); got != f.Text {
				t.Errorf("%q, want %q", got, f.Text)
			}
		}
	}
	if n < 5 {
		t.Fatalf("only %d events were found", n)
	}
}

func TestPayloads(t *testing.T) {
	emoji := []byte("42[\"用😀\"]") // 10 bytes less than its UTF-16 units would say
	for _, tc := range []struct {
		form    Form
		packets [][]byte
		want    string
	}{
		{Counted, [][]byte{[]byte("40"), emoji}, "2:409:42[\"用😀\"]"},
		{Binary, [][]byte{[]byte("40"), emoji}, "\x00\x02\xff40\x00\x01\x03\xff42[\"用😀\"]"},
		{Separated, [][]byte{[]byte("40"), emoji}, "40\x1e42[\"用😀\"]"},
	} {
		got := tc.form.Append(nil, tc.packets...)
		if string(got) != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
		if back, err := tc.form.Parse(got); err != nil || !slices.EqualFunc(back, tc.packets, bytes.Equal) {
			t.Errorf("%q: %q %v", got, back, err)
		}
	}
}

// Clients 1.x encode UTF-8 twice. What could be that by chance is decoded once more, too.
func TestDoubledUTF8(t *testing.T) {
	double := func(text string) string {
		var s strings.Builder
		for _, b := range []byte(text) {
			s.WriteRune(rune(b))
		}
		return s.String()
	}
	for sent, want := range map[string]string{
		double("4用😀"): "4用😀", "4用😀": "4用😀", "4abc": "4abc", "4caf\u00e9": "4caf\u00e9", double("4\u00e9"): "4\u00e9", double("4\u00e9") + "用": double("4\u00e9") + "用",
	} {
		packets, err := Counted.Parse(Counted.Append(nil, []byte(sent)))
		if err != nil || string(packets[0]) != want {
			t.Errorf("%q: %q %v, want %q", sent, packets, err, want)
		}
	}
}

func TestBadPayloads(t *testing.T) {
	many := bytes.Repeat([]byte("1:2"), MaxPackets)
	for _, tc := range []struct {
		form    Form
		payload string
		want    error
	}{
		{Counted, "", ErrPayload}, {Counted, "2", ErrPayload}, {Counted, ":40", ErrPayload}, {Counted, "-1:4", ErrPayload}, {Counted, "3:40", ErrPayload},
		{Counted, "0:", ErrPayload}, {Counted, "2:40x", ErrPayload}, {Counted, "9999999999:4", ErrPayload}, {Counted, "999999999:4", ErrPayload}, {Counted, "2:4\xff", ErrPayload},
		{Counted, "2:4😀", ErrPayload}, {Counted, "2:x0", ErrPayload}, {Counted, "2:70", ErrPayload}, {Counted, "4:bAAA", ErrBinary}, {Counted, string(many) + "1:2", ErrPackets},
		{Binary, "\x00\xff4", ErrPayload}, {Binary, "\x00\x02\xff4", ErrPayload}, {Binary, "\x02\x01\xff4", ErrPayload}, {Binary, "\x00\x0a\xff4", ErrPayload}, {Binary, "\x00\x01", ErrPayload},
		{Binary, "\x01\x01\xff4", ErrBinary}, {Binary, "\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff4", ErrPayload}, {Binary, "\x00\x00\xff", ErrPayload}, {Binary, "2:40", ErrPayload},
		{Separated, "", ErrPayload}, {Separated, "40\x1e", ErrPayload}, {Separated, "\x1e40", ErrPayload}, {Separated, "bAAAA", ErrBinary}, {Separated, "4\xc3", ErrPayload},
		{Separated, strings.Repeat("2\x1e", MaxPackets) + "2", ErrPackets},
	} {
		if packets, err := tc.form.Parse([]byte(tc.payload)); !errors.Is(err, tc.want) {
			t.Errorf("%d %q: %q, %v, want %v", tc.form, tc.payload, packets, err, tc.want)
		}
	}
	if packets, err := Counted.Parse(many); err != nil || len(packets) != MaxPackets {
		t.Error(len(packets), err)
	}
}

func TestPackets(t *testing.T) {
	for content, want := range map[string]Packet{
		`0`: {Connect, "/", []byte{}}, `0{"token":"x"}`: {Connect, "/", []byte(`{"token":"x"}`)}, `0/admin`: {Connect, "/admin", []byte{}}, `0/admin,{}`: {Connect, "/admin", []byte(`{}`)},
		`1`: {Disconnect, "/", []byte{}}, `2["x"]`: {Event, "/", []byte(`["x"]`)}, `20["x"]`: {Event, "/", []byte(`["x"]`)}, `2/a,12["x"]`: {Event, "/a", []byte(`["x"]`)}, `51-["x"]`: {BinaryEvent, "/", []byte(`1-["x"]`)},
	} {
		got, err := ParsePacket([]byte(content))
		if err != nil || got.Type != want.Type || got.Namespace != want.Namespace || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%q: %+v %v", content, got, err)
		}
	}
	for _, content := range []string{"", "7", "x", "0/" + strings.Repeat("a", maxNamespace)} {
		if got, err := ParsePacket([]byte(content)); !errors.Is(err, ErrPacket) {
			t.Errorf("%.20q: %+v %v", content, got, err)
		}
	}
	for _, data := range []string{"", "{}", "[]", "[1]", `["x"`, `["x",]`, "x", `["x",[[[[1]]]]]`, `[null]`} {
		if name, _, err := (Packet{Data: []byte(data)}).Event(4); !errors.Is(err, ErrPacket) {
			t.Errorf("%q: %q %v", data, name, err)
		}
	}
	if name, arguments, err := (Packet{Data: []byte(`["x[[[[\"[[",[[[1]]], "y"]`)}).Event(4); err != nil || name != `x[[[["[[` || len(arguments) != 2 {
		t.Errorf("%q %q %v", name, arguments, err)
	}
	if got := string(AppendEvent(nil, false, "消息", []byte(`"好"`), []byte(`{"a":1}`))); got != `42["消息","好",{"a":1}]` {
		t.Error(got)
	}
	if got := string(AppendEvent(nil, true, "消息", []byte(`"好😀"`))); got != `42["\u6d88\u606f","\u597d\ud83d\ude00"]` {
		t.Error(got)
	}
	if three, four := string(Refusal(3, "/admin")), string(Refusal(4, "/admin")); three != `44/admin,"Invalid namespace"` || four != `44/admin,{"message":"Invalid namespace"}` {
		t.Error(three, four)
	}
}

// Texts of uids are those that PHP 8.2 makes of the same JSON.
func TestLogin(t *testing.T) {
	for argument, want := range map[string]string{
		`123`: "123", `12.5`: "12.5", `true`: "1", `false`: "", `null`: "", `[1]`: "Array", `{}`: "Array", `1e25`: "1.0E+25", `-0`: "0", `0.00001`: "1.0E-5", `0.0001`: "0.0001",
		`123456789012345678901`: "1.2345678901235E+20", `99999999999999.5`: "1.0E+14", `123456789012345.6`: "1.2345678901235E+14", `1e2`: "100", `-12.50`: "-12.5", `0.30000000000000004`: "0.3",
		`100000000000000.0`: "1.0E+14", `9223372036854775807`: "9223372036854775807", `9223372036854775808`: "9.2233720368548E+18", `1e400`: "INF", `-1e400`: "-INF", `1E-7`: "1.0E-7", `-1.5e-10`: "-1.5E-10",
		`"\ud83d\ude00"`: "😀", `"用"`: "用", `0.0`: "0", `-0.0`: "-0", `12345678901234.5`: "12345678901234", ``: "", `x`: "", `"x`: "",
	} {
		if got := Login(json.RawMessage(argument)); got != want {
			t.Errorf("%s: %q, want %q", argument, got, want)
		}
	}
}

// A payload that is read is written and read again as the same packets.
func FuzzPayload(f *testing.F) {
	for _, r := range recordings(f) {
		body, form := r.body(f)
		f.Add(body, uint8(form))
	}
	f.Add([]byte("40\x1e42[\"用😀\"]"), uint8(Separated))
	f.Fuzz(func(t *testing.T, payload []byte, form uint8) {
		fm := Form(form % 3)
		packets, err := fm.Parse(payload)
		if err != nil {
			return
		}
		for _, p := range packets {
			if p[0] != Message {
				continue
			}
			if packet, err := ParsePacket(p[1:]); err == nil {
				if _, arguments, err := packet.Event(8); err == nil && len(arguments) > 0 {
					Login(arguments[0])
				}
			}
		}
		again, err := fm.Parse(fm.Append(nil, packets...))
		if err != nil {
			t.Fatalf("%q: %v", packets, err)
		}
		for i, p := range packets {
			if want := undouble(p); !bytes.Equal(again[i], want) && fm != Separated || fm == Separated && !bytes.Equal(again[i], p) {
				t.Fatalf("%q, want %q", again[i], want)
			}
		}
	})
}
