package phpserialize_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"wsframe/library/phpserialize"
)

// vectors are what PHP 8.2 wrote. []byte is base64 in JSON.
type vectors struct {
	Serialize []struct {
		PHP   string
		Bytes []byte
	}
	Merge []struct{ Old, New, Merged []byte }
}

func load(t testing.TB) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/php.json")
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil || len(v.Serialize) < 30 || len(v.Merge) < 15 {
		t.Fatal(err, len(v.Serialize), len(v.Merge))
	}
	return v
}

// write serializes a parsed value anew from its Go values, so that the writer is checked, too.
func write(b []byte, v phpserialize.Value) []byte {
	switch v.Kind() {
	case phpserialize.Bool:
		return phpserialize.AppendBool(b, v.Bool())
	case phpserialize.Int:
		return phpserialize.AppendInt(b, v.Int())
	case phpserialize.Float:
		return phpserialize.AppendFloat(b, v.Float())
	case phpserialize.String:
		return phpserialize.AppendString(b, v.Text())
	case phpserialize.Array:
		b = phpserialize.AppendArray(b, v.Len())
		v.Each(func(k phpserialize.Key, v phpserialize.Value) bool {
			b = write(phpserialize.AppendKey(b, k.String()), v)
			return true
		})
		return phpserialize.EndArray(b)
	}
	return phpserialize.AppendNull(b)
}

func TestVectors(t *testing.T) {
	v := load(t)
	for _, one := range v.Serialize {
		got, err := phpserialize.Parse(one.Bytes)
		if err != nil {
			t.Errorf("%s: %v", one.PHP, err)
			continue
		}
		if b := got.Append(nil); string(b) != string(one.Bytes) {
			t.Errorf("%s: Append: %s", one.PHP, b)
		}
		if b := write(nil, got); string(b) != string(one.Bytes) {
			t.Errorf("%s: written anew: %s, want %s", one.PHP, b, one.Bytes)
		}
	}
	for _, one := range v.Merge {
		got, err := phpserialize.Parse(one.Old)
		if err != nil {
			t.Fatal(err)
		}
		with, err := phpserialize.Parse(one.New)
		if err != nil {
			t.Fatal(err)
		}
		if b := phpserialize.Merge(got, with).Append(nil); string(b) != string(one.Merged) {
			t.Errorf("%s with %s: %s, want %s", one.Old, one.New, b, one.Merged)
		}
	}
}

func TestKeys(t *testing.T) {
	for name, want := range map[string]string{
		"7": "i:7;", "-7": "i:-7;", "0": "i:0;", "9223372036854775807": "i:9223372036854775807;",
		"-9223372036854775808": "i:-9223372036854775808;",
		"07":                   `s:2:"07";`, "+7": `s:2:"+7";`, "-0": `s:2:"-0";`, "1.5": `s:3:"1.5";`, "": `s:0:"";`, "-": `s:1:"-";`,
		"9223372036854775808": `s:19:"9223372036854775808";`, "1e3": `s:3:"1e3";`,
	} {
		if got := string(phpserialize.AppendKey(nil, name)); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
		if got := phpserialize.KeyOf(name).String(); got != name {
			t.Errorf("%q comes back as %q", name, got)
		}
	}
}

// The digits are those of serialize() at the ends of the notation with an exponent.
func TestFloats(t *testing.T) {
	for want, f := range map[string]float64{
		"1000000000000000": 1e15, "10000000000000000": 1e16, "1.0E+17": 1e17, "1.0E+22": 1e22, "0.0001": 0.0001, "1.0E-5": 0.00001,
		"1.5E-7": 1.5e-7, "1.2345678901234568E+17": 123456789012345678, "-0": math.Copysign(0, -1),
	} {
		if got := string(phpserialize.AppendFloat(nil, f)); got != "d:"+want+";" {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
}

// Texts of floats are those of PHP 8.2.
func TestFloatTexts(t *testing.T) {
	for want, f := range map[string]float64{
		"1.7976931348623E+308": math.MaxFloat64, "4.9406564584125E-324": math.SmallestNonzeroFloat64, "0.33333333333333": 1.0 / 3, "1.0E+15": 1e15, "1.0E+14": 99999999999999.5,
		"12345678901234": 12345678901234.5, "123456789.12346": 123456789.123456789, "-0.00012345678901235": -0.00012345678901234567, "-0": math.Copysign(0, -1), "100": 100, "INF": math.Inf(1),
	} {
		if got := string(phpserialize.AppendFloatText(nil, f)); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
}

func nested(n int) string {
	return strings.Repeat("a:1:{i:0;", n) + "N;" + strings.Repeat("}", n)
}

func TestRefused(t *testing.T) {
	for _, text := range []string{
		"", "N", "x:1;", "i:;", "i:1", "i:1.5;", "i:99999999999999999999;", "i:" + strings.Repeat("0", 40) + ";", "b:2;", "b:;", "d:;", "d:x;", "d:0x1p4;",
		"d:1_0;", "d:Infinity;", "d:nan;", `s:2:"a";`, `s:1:"ab";`, `s:1:a;`, `s:-1:"";`, `s:+1:"a";`, `s:9999999999999:"a";`, `s:1:"a"`, `S:1:"a";`,
		"a:0:{", "a:1:{}", "a:-1:{}", "a:2000000000:{", "a:1:{i:0;}", "a:1:{N;N;}", "a:1:{d:1;N;}", "a:1:{a:0:{}N;}", "a:0:{}x", "a:0:{};",
		"a:2:{i:0;N;}", "R:1;", "r:1;", "a:2:{i:0;N;i:1;R:2;}", `C:1:"A":2:{ab}`, `O:1:"A":1:{s:1:"a";r:1;}`, `O:1:"A":1:{}`, `O:1:"A"`, `E:3:"A:B"`,
		nested(65), strings.Replace(nested(65), "a:1:", `O:1:"A":1:`, 40),
	} {
		if v, err := phpserialize.Parse([]byte(text)); !errors.Is(err, phpserialize.ErrText) {
			t.Errorf("%.60s: %v, %v", text, v.Kind(), err)
		}
	}
	many := func(n int) string {
		return fmt.Sprintf("a:%d:{%s}", n, strings.Repeat("i:0;N;", n))
	}
	if _, err := phpserialize.Parse([]byte(many(phpserialize.MaxElements))); err != nil {
		t.Error(err)
	}
	if _, err := phpserialize.Parse([]byte(many(phpserialize.MaxElements + 1))); err == nil {
		t.Error("too many elements are read")
	}
}

func TestKept(t *testing.T) {
	for _, text := range []string{
		nested(64), "i:+5;", "d:.5;", "d:1e999;", `O:1:"A":1:{s:4:"` + "\x00A\x00b" + `";a:1:{i:0;N;}}`, `E:3:"A:B";`, `a:1:{s:1:"o";O:8:"stdClass":0:{}}`,
	} {
		v, err := phpserialize.Parse([]byte(text))
		if got := string(v.Append(nil)); err != nil || got != text {
			t.Errorf("%.60s: %.60s, %v", text, got, err)
		}
	}
	// The last value of a key counts, in the place of the first, and a decimal string is an
	// integer.
	v, err := phpserialize.Parse([]byte(`a:3:{s:1:"7";N;i:1;N;i:7;b:1;}`))
	if got := string(v.Append(nil)); err != nil || got != "a:2:{i:7;b:1;i:1;N;}" {
		t.Error(got, err)
	}
	// Objects are leaves of a merge.
	old, _ := phpserialize.Parse([]byte(`a:2:{s:1:"o";O:1:"A":1:{s:1:"a";i:1;}s:1:"p";a:1:{i:0;N;}}`))
	with, _ := phpserialize.Parse([]byte(`a:2:{s:1:"o";O:1:"A":1:{s:1:"b";i:2;}s:1:"p";O:1:"B":0:{}}`))
	if got := string(phpserialize.Merge(old, with).Append(nil)); got != `a:2:{s:1:"o";O:1:"A":1:{s:1:"b";i:2;}s:1:"p";O:1:"B":0:{}}` {
		t.Error(got)
	}
}

// A short list becomes a map in between, and order and values stay.
func TestLongMerge(t *testing.T) {
	text := func(from, to int) []byte {
		b := phpserialize.AppendArray(nil, to-from)
		for i := from; i < to; i++ {
			b = phpserialize.AppendInt(phpserialize.AppendKey(b, fmt.Sprint("k", i)), int64(i))
		}
		return phpserialize.EndArray(b)
	}
	old, err := phpserialize.Parse(text(0, 7))
	if err != nil {
		t.Fatal(err)
	}
	with, err := phpserialize.Parse(text(3, 40))
	if err != nil {
		t.Fatal(err)
	}
	if got := phpserialize.Merge(old, with).Append(nil); string(got) != string(text(0, 40)) {
		t.Error(string(got))
	}
}

func TestJSON(t *testing.T) {
	for text, want := range map[string]string{
		"N;": "null", "b:1;": "true", "b:0;": "false", "i:-5;": "-5", "d:1.5;": "1.5", "d:.5;": "0.5", "d:1e100;": "1.0E+100",
		`s:8:"a<"/` + "\n" + `中";`: `"a<\"/\n中"`, "a:0:{}": "[]", "a:2:{i:0;i:1;i:1;N;}": "[1,null]", "a:1:{i:1;i:1;}": `{"1":1}`,
		`a:2:{s:1:"a";a:1:{i:0;N;}i:7;b:1;}`: `{"a":[null],"7":true}`,
	} {
		v, err := phpserialize.Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := phpserialize.AppendJSON([]byte("x"), v)
		if err != nil || string(got) != "x"+want || !json.Valid(got[1:]) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"d:NAN;", "d:INF;", "s:1:\"\xff\";", `O:1:"A":0:{}`, "a:1:{i:0;d:INF;}", "a:1:{s:1:\"\xff\";N;}"} {
		v, err := phpserialize.Parse([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if got, err := phpserialize.AppendJSON(nil, v); !errors.Is(err, phpserialize.ErrJSON) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

// What can be read can be written, read and merged again, and has JSON or an error.
func FuzzParse(f *testing.F) {
	v := load(f)
	for _, one := range v.Serialize {
		f.Add(one.Bytes)
	}
	f.Add([]byte(`a:2:{s:1:"7";O:1:"A":1:{s:1:"a";i:1;}i:1;E:3:"A:B";}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := phpserialize.Parse(text)
		if err != nil {
			return
		}
		b := v.Append(nil)
		again, err := phpserialize.Parse(b)
		if err != nil || len(b) > len(text)+16 {
			t.Fatalf("%q: %q, %v", text, b, err)
		}
		if c := again.Append(nil); string(c) != string(b) {
			t.Fatalf("%q: %q", b, c)
		}
		if doc, err := phpserialize.AppendJSON(nil, v); err == nil && !json.Valid(doc) {
			t.Fatalf("%q: %q", b, doc)
		}
		if c := phpserialize.Merge(v, again).Append(nil); string(c) != string(b) {
			t.Fatalf("%q merged with itself: %q", b, c)
		}
	})
}
