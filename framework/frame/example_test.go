package frame_test

import (
	"fmt"

	"wsframe/framework/frame"
)

// A request is decoded, and its reply carries the request's id.
func Example() {
	req, err := frame.Decode([]byte(`{"method":"chat.room.say","say":"hi","id":1}`), frame.Options{})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s\n", req.Method, req.Body)

	out, err := frame.AppendReply(nil, &frame.Reply{Status: 200, Event: "saySuccess", Param: []int{1, 2}}, req.ID)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", out)
	// Output:
	// chat.room.say {"method":"chat.room.say","say":"hi","id":1}
	// {"status":200,"event":"saySuccess","info":"","param":[1,2],"id":1}
}
