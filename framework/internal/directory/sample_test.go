package directory

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
)

// A name that several nodes have counts once: exactly up to 4,096 names of each node, and nearly
// so beyond. A sample stays small.
func TestCountsOnce(t *testing.T) {
	names := func(from, to int) (list []string) {
		for i := from; i < to; i++ {
			list = append(list, fmt.Sprint("user", i))
		}
		return list
	}
	for _, tc := range []struct {
		nodes [][]string
		want  int
		off   float64
	}{
		{nil, 0, 0},
		{[][]string{names(0, 0)}, 0, 0},
		{[][]string{names(0, 300), names(200, 500), names(200, 210)}, 500, 0},
		{[][]string{names(0, 4096), names(1, 4097), names(4096, 8192)}, 8192, 0},
		{[][]string{names(0, 50_000)}, 50_000, 0},
		{[][]string{names(0, 50_000), names(50_000, 50_001)}, 50_001, 0},
		{[][]string{names(0, 20_000), names(20_000, 40_000), names(40_000, 60_000)}, 60_000, 0},
		{[][]string{names(0, 20_000), names(19_000, 39_000), names(38_000, 58_000)}, 58_000, 0.01},
		{[][]string{names(0, 20_000), names(0, 20_000), names(0, 100)}, 20_000, 0.05},
	} {
		var samples []sample
		sum := 0
		for _, list := range tc.nodes {
			s := sampleOf(list)
			if b, err := json.Marshal(s); err != nil || len(b) > 33_000 || len(list) == 300 && len(b) > 2500 {
				t.Errorf("%d names take %d bytes, %v", len(list), len(b), err)
			}
			samples, sum = append(samples, s), sum+len(list)
		}
		if got := distinct(samples, sum); math.Abs(float64(got-tc.want)) > tc.off*float64(tc.want) {
			t.Errorf("%d instead of %d", got, tc.want)
		}
	}
	if got := distinct([]sample{{Level: 99, Hashes: []byte{1, 2, 3}}, {Hashes: make([]byte, 20)}}, 7); got != 7 {
		t.Errorf("%d of nonsense", got)
	}
}
