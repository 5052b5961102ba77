package console_test

import (
	"context"
	"fmt"
	"os"

	"wsframe/framework"
	"wsframe/framework/console"
)

// Greeter has one action, the method Greet.
type Greeter struct{}

// Greet replies to {"method":"hello.greeter.greet"}.
func (*Greeter) Greet(*framework.Ctx) (*framework.Reply, error) {
	return framework.OK("hello", ""), nil
}

// The main package of an application calls Main with this Program. Run is Main for given arguments,
// here those of `console -s routes`.
func Example() {
	p := console.Program{
		Version: "1.2.3",
		Controllers: func(framework.Deps) ([]framework.Controller, error) {
			return []framework.Controller{framework.Mount("hello.greeter", &Greeter{})}, nil
		},
	}
	code := console.Run(context.Background(), p, []string{"-s", "routes"}, nil, os.Stdout, os.Stderr)
	fmt.Println("exit code", code)
	// Output:
	// hello.greeter.greet  console_test.Greeter
	// index.sys.answer     framework.system
	// index.sys.cancel     framework.system
	// index.sys.clientid   framework.system
	// index.sys.history    framework.system
	// index.sys.recover    framework.system
	// index.sys.resume     framework.system
	// exit code 0
}
