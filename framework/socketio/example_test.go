package socketio_test

import (
	"fmt"

	"wsframe/framework/socketio"
)

// A page logs in by a POST, and gets a message by its next poll.
func Example() {
	packets, err := socketio.Counted.Parse([]byte(`15:42["login",123]`))
	if err != nil {
		panic(err)
	}
	packet, err := socketio.ParsePacket(packets[0][1:])
	if err != nil {
		panic(err)
	}
	event, arguments, err := packet.Event(16)
	fmt.Println(event, socketio.Login(arguments[0]), err)

	message := socketio.AppendEvent(nil, true, "new_msg", []byte(`"你好"`))
	fmt.Printf("%s\n", socketio.Counted.Append(nil, message))
	// Output:
	// login 123 <nil>
	// 28:42["new_msg","\u4f60\u597d"]
}
