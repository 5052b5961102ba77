package log

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

const patience = 30 * time.Second // exceeded only by a fault

// A reader that does not read costs lines, but never time. Dropped lines are counted, and reported
// when it reads again.
func TestOutputBlocked(t *testing.T) {
	r, w := io.Pipe()
	o := NewOutput(w)
	const lines = 20_000
	for i := range lines {
		fmt.Fprintf(o, "line %d of a stuck terminal, long enough to fill what waits for it\n", i)
	}
	lost := o.Lost()
	if lost == 0 {
		t.Fatal("everything is kept: there is no bound")
	}
	var got bytes.Buffer
	read := make(chan struct{})
	go func() { defer close(read); _, _ = io.Copy(&got, r) }()
	o.Flush(patience)
	fmt.Fprintln(o, "the last one")
	o.Close(patience)
	_ = w.Close()
	<-read
	said := regexp.MustCompile(`\[(\d+) lines are missing here`).FindStringSubmatch(got.String())
	if said == nil {
		t.Fatal("nothing says that lines are missing")
	}
	n, _ := strconv.ParseInt(said[1], 10, 64)
	if have := int64(strings.Count(got.String(), "line ")); n != lost || have+lost != lines || !strings.HasSuffix(got.String(), "the last one\n") {
		t.Errorf("%d lines, %d said to be missing, %d lost", have, n, lost)
	}
}

type broken struct{ err error }

func (b *broken) Write(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return len(p), nil
}

func TestOutputBroken(t *testing.T) {
	o := NewOutput(&broken{errors.New("input/output error")})
	defer o.Close(patience)
	for range 10 {
		if n, err := fmt.Fprintln(o, "one\ntwo"); n != 8 || err != nil {
			t.Fatal(n, err)
		}
		o.Flush(patience)
	}
	if o.Lost() != 20 {
		t.Errorf("%d lost", o.Lost())
	}
	var b bytes.Buffer
	o.Redirect(&b)
	fmt.Fprintln(o, "three")
	o.Flush(patience)
	if b.String() != "three\n[20 lines are missing here: nobody read them]\n" {
		t.Errorf("%q", b.String())
	}
}

func TestLines(t *testing.T) {
	var b bytes.Buffer
	l := &Lines{W: writerFunc(func(p []byte) { fmt.Fprintf(&b, "<%s>", p) })}
	for _, piece := range []string{"a", "b\nc\xe5", "\xa4\xa7", "\n", "", "end"} {
		fmt.Fprint(l, piece)
	}
	l.End()
	l.End()
	if b.String() != "<ab\n><c大\n><end\n>" {
		t.Errorf("%q", b.String())
	}
	b.Reset()
	fmt.Fprint(l, strings.Repeat("x", maxLine+1))
	if b.Len() < maxLine || l.rest != nil {
		t.Error("a line without end is kept")
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestEscape(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"plain, 大屏幕 😀 👩‍👩‍👧\t\n", "plain, 大屏幕 😀 👩‍👩‍👧\t\n"},
		{"\x1b[2J\x07\x08\r\x00", `\u001b[2J\u0007\u0008\u000d\u0000`},
		{"a\x7fb", `a\u007fb`},
		{"\u009b31m\u0080", `\u009b31m\u0080`},
		{"raw \x9b31m \xff", `raw \x9b31m \xff`},
		{"\u202eevil\u202c \u2066\u2069 \u200e\u200f\u061c", `\u202eevil\u202c \u2066\u2069 \u200e\u200f\u061c`},
		{"\u2028\u2029", `\u2028\u2029`},
	} {
		if got := string(Escape([]byte(tc.in))); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.in, got, tc.want)
		}
	}
	if got := EscapeLine("a\tb\nconsole: ok\x1b"); got != `a\tb\nconsole: ok\u001b` {
		t.Error(got)
	}
}

// Texts of clients are escaped in the file and on the console, and decoding the file's JSON returns
// the original text.
func TestLoggerEscapes(t *testing.T) {
	var console bytes.Buffer
	dir := t.TempDir()
	l, err := New(Options{Dir: dir, Name: "test", Console: &console})
	if err != nil {
		t.Fatal(err)
	}
	evil := "\x1b[2J\u009b31m\x7f\u202egpj.exe\u2066"
	l.Error("refused "+evil, zap.String("text", evil), zap.Error(errors.New(evil)))
	l.Hush()
	l.Error("the file only")
	fmt.Fprintf(l.Printed(), "one %s\n\ntwo\n", evil)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "wsframe-"+time.Now().Format(time.DateOnly)+".log")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"file": raw, "console": console.Bytes()} {
		if !bytes.Equal(Escape(b), b) {
			t.Errorf("%s: %q", name, b)
		}
	}
	got := lines(t, path)
	if len(got) != 4 || got[0]["text"] != evil || got[3]["line"] != "two" {
		t.Errorf("%v", got)
	}
	if strings.Contains(console.String(), "file only") {
		t.Error("not hushed")
	}
}
