package bus

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// id of a stream's entry.
type id struct{ ms, seq uint64 }

func (i id) String() string {
	return strconv.FormatUint(i.ms, 10) + "-" + strconv.FormatUint(i.seq, 10)
}

func (i id) less(j id) bool { return i.ms < j.ms || i.ms == j.ms && i.seq < j.seq }

func (i id) compare(j id) int { return cmp.Or(cmp.Compare(i.ms, j.ms), cmp.Compare(i.seq, j.seq)) }

var errID = errors.New("bus: not an id of a stream")

func parseID(text string) (id, error) {
	ms, seq, ok := strings.Cut(text, "-")
	a, err := strconv.ParseUint(ms, 10, 64)
	b, err2 := strconv.ParseUint(seq, 10, 64)
	if !ok || err != nil || err2 != nil {
		return id{}, fmt.Errorf("%w: %.50q", errID, text)
	}
	return id{a, b}, nil
}
