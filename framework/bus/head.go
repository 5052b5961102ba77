package bus

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// appendHead appends the head of a message, which the stream has beside key and body: "TOKEN NUMBER
// KIND". After NUMBER come "@LANE" where that is not 0, and "/BEFORE" where the sender's message
// before it in the lane is not NUMBER-1. The script adds " OFFSET EPOCH MS COUNT" to that of a
// message with a place.
func appendHead(b []byte, token string, number, before int64, lane int, kind byte) []byte {
	b = strconv.AppendInt(append(append(b, token...), ' '), number, 10)
	if lane > 0 {
		b = strconv.AppendInt(append(b, '@'), int64(lane), 10)
	}
	if before != number-1 {
		b = strconv.AppendInt(append(b, '/'), before, 10)
	}
	return strconv.AppendUint(append(b, ' '), uint64(kind), 10)
}

func parseHead(text string, m *Message) (number, before int64, lane int, err error) {
	token, rest, _ := strings.Cut(text, " ")
	n, rest, _ := strings.Cut(rest, " ")
	kind, kept, more := strings.Cut(rest, " ")
	n, p, other := strings.Cut(n, "/")
	n, l, laned := strings.Cut(n, "@")
	number, e := strconv.ParseInt(n, 10, 64)
	k, e2 := strconv.ParseUint(kind, 10, 8)
	var e3, e4 error
	if laned {
		lane, e4 = strconv.Atoi(l)
	}
	if before = number - 1; other {
		before, e3 = strconv.ParseInt(p, 10, 64)
	}
	if token == "" || e != nil || e2 != nil || e3 != nil || e4 != nil || number <= 0 || before < 0 || before >= number || lane < 0 {
		return 0, 0, 0, fmt.Errorf("bus: not the head of a message: %.100q", text)
	}
	m.From, m.Kind = token, byte(k)
	if more {
		ok := false
		if m.Offset, m.Epoch, m.At, m.count, ok = parseKept(kept); !ok {
			return 0, 0, 0, fmt.Errorf("bus: not the head of a kept message: %.100q", text)
		}
	}
	return number, before, lane, nil
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
