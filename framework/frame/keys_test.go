package frame

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func objectOf(n int) string {
	var b strings.Builder
	b.WriteString(`{"method":"m"`)
	for i := range n {
		fmt.Fprintf(&b, `,"key%d":%d`, i, i)
	}
	return b.String()
}

// Any number of keys is distinguished without an allocation for each.
func TestManyKeys(t *testing.T) {
	for _, n := range []int{1, 15, 16, 17, 100, 4500} {
		data := []byte(objectOf(n) + "}")
		if r, err := Decode(data, Options{}); err != nil || string(r.Method) != "m" || len(r.Body) != len(data) {
			t.Errorf("%d keys: %v", n, err)
		}
		for _, twice := range []int{0, n / 2, n - 1} {
			if _, err := Decode([]byte(objectOf(n)+fmt.Sprintf(`,"key%d":0}`, twice)), Options{}); !errors.Is(err, ErrDuplicateKey) {
				t.Errorf("%d keys, key %d twice: %v", n, twice, err)
			}
		}
	}
	data := []byte(objectOf(4500) + "}")
	if n := testing.AllocsPerRun(20, func() { _, _ = Decode(data, Options{}) }); n > 50 {
		t.Errorf("%.0f allocations", n)
	}
}

func TestUnescape(t *testing.T) {
	for _, quoted := range []string{`""`, `"plain 小"`, `"\"\\\/\b\f\n\r\t"`, `"\u0041\u00e9\u5C0f"`, `"\ud83d\ude00!"`, `"\ud83d"`, `"\ude00x"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"\ud83d\ud83d\ude00"`, `"\ud83d\n"`, `"\u0000"`} {
		var want string
		if err := json.Unmarshal([]byte(quoted), &want); err != nil {
			t.Fatal(err)
		}
		if got := string(unescape([]byte(quoted))); got != want {
			t.Errorf("%s is %q, not %q", quoted, got, want)
		}
	}
}
