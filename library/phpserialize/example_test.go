package phpserialize_test

import (
	"fmt"

	"wsframe/library/phpserialize"
)

// An array is written piece by piece, read, and merged with another one.
func Example() {
	b := phpserialize.AppendArray(nil, 2)
	b = phpserialize.AppendString(phpserialize.AppendKey(b, "name"), "Ada")
	b = phpserialize.AppendBool(phpserialize.AppendKey(b, "7"), true)
	b = phpserialize.EndArray(b)
	fmt.Printf("%s\n", b)

	old, err := phpserialize.Parse(b)
	if err != nil {
		panic(err)
	}
	with, err := phpserialize.Parse([]byte(`a:1:{s:4:"name";s:5:"Grace";}`))
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", phpserialize.Merge(old, with).Append(nil))
	// Output:
	// a:2:{s:4:"name";s:3:"Ada";i:7;b:1;}
	// a:2:{s:4:"name";s:5:"Grace";i:7;b:1;}
}
