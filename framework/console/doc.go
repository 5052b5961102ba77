// Package console is the command by which a server is started and operated. An application's main
// package is a call of Main:
//
//	func main() {
//		console.Main(console.Program{Controllers: app.Controllers})
//	}
//
// The command `console -s start` runs the master (package process), which starts this program again
// as its worker (package internal/boot). The other commands call the master by its admin port
// (package manager), or need no server at all. Each command is a type with what it needs;
// commands.go makes them.
//
// A process calls Main or Run once, from its main goroutine: signals, standard output and the
// environment are theirs from then on.
package console
