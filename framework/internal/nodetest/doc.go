// Package nodetest gives tests a node without sockets and Redis: connections whose frames tests
// can read, and nodes that hear each other at once.
//
// The tests of publish, presence, closing and the like use it. All of it works within
// testing/synctest.
//
//	h := nodetest.NewHub(t, hub.Config{})
//	c := h.Connect(7, auth.Identity{ID: "u"}, session.New(nil))
//	c.Close(wire.CloseRestart, "bye")
//	frames := c.Received() // "close 1012 bye"
//
//	b := nodetest.NewBus()
//	here, there := b.Node("n1"), b.Node("n2") // ask.Nodes that answer each other
package nodetest
