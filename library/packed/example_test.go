package packed_test

import (
	"encoding/binary"
	"fmt"

	"wsframe/library/packed"
)

// The reader asks for the values in the order of the writer, and checks once.
func Example() {
	b := packed.AppendText(binary.AppendVarint(nil, 7), "room A")

	r := packed.NewReader(b)
	fd, name := r.Int(), r.Text()
	fmt.Println(fd, name, r.End())

	r = packed.NewReader(b[:3])
	fd, name = r.Int(), r.Text()
	fmt.Println(r.End())
	// Output:
	// 7 room A <nil>
	// encoded values cannot be read
}
