// Package frame reads and writes the JSON of the wire contract (contract §3): requests
// {"method":"module.controller.action", …} and replies {"status","event","info","param"}.
//
//	req, err := frame.Decode(data, frame.Options{MaxDepth: 32})
//	out, err := frame.AppendReply(nil, &frame.Reply{Status: 200, Event: "success", Info: "执行完成"}, req.ID)
//
// All functions are pure and safe for concurrent use.
package frame
