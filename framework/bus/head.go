package bus

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// appendHead appends the head of a message, which the stream has beside key and body: "TOKEN NUMBER
// KIND". The script adds " OFFSET EPOCH MS COUNT" to that of a message with a place.
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
		if m.Offset, m.Epoch, m.At, m.count, ok = parseKept(kept); !ok {
			return 0, fmt.Errorf("bus: not the head of a kept message: %.100q", text)
		}
	}
	return number, nil
}

func parseKept(text string) (offset int64, epoch string, at time.Time, count int64, ok bool) {
	part := strings.Split(text, " ")
	if len(part) != 4 {
		return 0, "", at, 0, false
	}
	offset, e := strconv.ParseInt(part[0], 10, 64)
	ms, e2 := strconv.ParseInt(part[2], 10, 64)
	count, e3 := strconv.ParseInt(part[3], 10, 64)
	return offset, part[1], time.UnixMilli(ms), count, e == nil && e2 == nil && e3 == nil && offset >= 0 && part[1] != ""
}
