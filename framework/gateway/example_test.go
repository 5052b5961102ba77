package gateway

import "fmt"

// A frame of GatewayClient asks whether a client is online; the answer is PHP's serialize() of 1.
func Example() {
	commands := Commands{Backend: newFake(1, 2)}

	id, ok := ParseClientID("7f000001326400000002")
	fmt.Println(id.Gateway, id.Connection, ok)

	answer, err := commands.Do(Frame{Command: 11, Connection: id.Connection}, nil)
	fmt.Printf("%q %v\n", answer, err)
	// Output:
	// 127.0.0.1:12900 2 true
	// "\x00\x00\x00\x04i:1;" <nil>
}
