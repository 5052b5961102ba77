package encrypt_test

import (
	"errors"
	"fmt"

	"wsframe/library/encrypt"
)

// A text that was sealed with the previous key opens while that key is still given.
func Example() {
	const current, previous = "the key of this year", "the key of last year"
	old, err := encrypt.NewGCM(previous)
	if err != nil {
		panic(err)
	}
	token, err := old.Seal([]byte(`{"id":"7"}`))
	if err != nil {
		panic(err)
	}

	g, err := encrypt.NewGCM(current, previous)
	if err != nil {
		panic(err)
	}
	plain, err := g.Open(token)
	fmt.Println(string(plain), err)

	_, err = g.Open(token + "x")
	fmt.Println("refused:", errors.Is(err, encrypt.ErrOpen))
	// Output:
	// {"id":"7"} <nil>
	// refused: true
}
