package bus

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A head is what the stream has of a message besides key and body: "TOKEN NUMBER KIND", and of kept ones " OFFSET EPOCH MS",
// which the script appends.
func appendHead(b []byte, token string, number int64, kind byte) []byte {
	b = append(append(b, token...), ' ')
	b = append(strconv.AppendInt(b, number, 10), ' ')
	return strconv.AppendUint(b, uint64(kind), 10)
}

func parseHead(text string, m *Message) (number int64, err error) {
	token, rest, _ := strings.Cut(text, " ")
	n, rest, _ := strings.Cut(rest, " ")
	kind, kept, more := strings.Cut(rest, " ")
	number, e := strconv.ParseInt(n, 10, 64)
	k, e2 := strconv.ParseUint(kind, 10, 8)
	if token == "" || e != nil || e2 != nil || number <= 0 {
		return 0, fmt.Errorf("bus: not the head of a message: %.100q", text)
	}
	m.From, m.Kind = token, byte(k)
	if more {
		ok := false
		if m.Offset, m.Epoch, m.At, ok = parseKept(kept); !ok {
			return 0, fmt.Errorf("bus: not the head of a kept message: %.100q", text)
		}
	}
	return number, nil
}

func parseKept(text string) (offset int64, epoch string, at time.Time, ok bool) {
	o, rest, _ := strings.Cut(text, " ")
	epoch, ms, _ := strings.Cut(rest, " ")
	offset, e := strconv.ParseInt(o, 10, 64)
	n, e2 := strconv.ParseInt(ms, 10, 64)
	return offset, epoch, time.UnixMilli(n), e == nil && e2 == nil && offset > 0 && epoch != ""
}
