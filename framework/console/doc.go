// Package console is the command by which a server is started and operated. An application's main package is a call of Main:
//
//	func main() {
//		console.Main(console.Program{Controllers: app.Controllers})
//	}
//
// `console -s start` runs the master, which starts this program again as its worker; the worker reads the configuration, opens store and
// database, makes the controllers and serves. The other commands speak to the master by its admin port, or need no server at all.
//
// A process calls Main or Run once, from its main goroutine: signals, standard output and the environment are its own then.
package console
