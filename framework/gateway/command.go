package gateway

import (
	"errors"
	"fmt"
)

// Command is the number of a command or an event.
type Command byte

// Commands that PHP sends. Numbers that are missing are free or belong to events, which only a
// gateway sends: a peer that uses one is closed.
const (
	cmdSendToOne            Command = 5
	cmdSendToAll            Command = 6
	cmdKick                 Command = 7
	cmdDestroy              Command = 8
	cmdUpdateSession        Command = 9
	cmdAllSessions          Command = 10
	cmdIsOnline             Command = 11
	cmdBindUID              Command = 12
	cmdUnbindUID            Command = 13
	cmdSendToUID            Command = 14
	cmdClientsByUID         Command = 15
	cmdBatchClientsByUID    Command = 16
	cmdJoinGroup            Command = 20
	cmdLeaveGroup           Command = 21
	cmdSendToGroup          Command = 22
	cmdSessionsByGroup      Command = 23
	cmdCountByGroup         Command = 24
	cmdSelect               Command = 25
	cmdGroups               Command = 26
	cmdUngroup              Command = 27
	cmdBatchCountByGroup    Command = 28
	cmdWorkerConnect        Command = 200
	cmdGatewayClientConnect Command = 202
	cmdSessionByClient      Command = 203
	cmdSetSession           Command = 204
)

const defaultSessionBytes = 64 << 10

// ErrCommand is returned for a command that is unknown or that only a gateway sends.
var ErrCommand = errors.New("no command of a PHP program")

// Commands executes the commands of PHP programs.
type Commands struct {
	Backend      Backend
	SessionBytes int                 // the largest session of a client; 0 = 64 KiB
	Refused      func(reason string) // called for input that is ignored; nil = not reported
	Done         func(c Command)     // called for each command that was executed; nil = not reported
}

// forPeer returns Commands for one peer.
func (c *Commands) forPeer() *Commands {
	own := *c
	own.Backend = c.Backend.ForPeer()
	return &own
}

// handler executes one command. Commands that ask append their answer, which is PHP's
// serialize().
type handler func(c *Commands, f Frame, b []byte) []byte

// oneWay are the commands without an answer.
var oneWay = map[Command]func(c *Commands, f Frame){
	cmdSendToOne:     (*Commands).sendToOne,
	cmdSendToAll:     (*Commands).sendToAll,
	cmdSendToUID:     (*Commands).sendToUID,
	cmdSendToGroup:   (*Commands).sendToGroup,
	cmdKick:          (*Commands).kick,
	cmdDestroy:       func(c *Commands, f Frame) { c.Backend.Destroy(f.Connection) },
	cmdUpdateSession: (*Commands).updateSession,
	cmdSetSession:    (*Commands).setSession,
	cmdBindUID:       func(c *Commands, f Frame) { c.named(f, c.Backend.Bind) },
	cmdUnbindUID:     func(c *Commands, f Frame) { c.Backend.Unbind(f.Connection) },
	cmdJoinGroup:     func(c *Commands, f Frame) { c.named(f, c.Backend.Join) },
	cmdLeaveGroup:    func(c *Commands, f Frame) { c.named(f, c.Backend.Leave) },
	cmdUngroup: func(c *Commands, f Frame) {
		c.named(f, func(_ uint32, group string) { c.Backend.Ungroup(group) })
	},
}

// questions are the commands with an answer.
var questions = map[Command]handler{
	cmdAllSessions:       (*Commands).allSessions,
	cmdIsOnline:          (*Commands).isOnline,
	cmdClientsByUID:      (*Commands).clientsByUID,
	cmdBatchClientsByUID: (*Commands).batchClientsByUID,
	cmdSessionsByGroup:   (*Commands).sessionsByGroup,
	cmdCountByGroup:      (*Commands).countByGroup,
	cmdBatchCountByGroup: (*Commands).batchCountByGroup,
	cmdSelect:            (*Commands).selectClients,
	cmdGroups:            (*Commands).groups,
	cmdSessionByClient:   (*Commands).sessionByClient,
}

// Do executes the command of a frame, whose Ext and Body it may keep. It appends the answer of a
// question to b: the length in four bytes and PHP's serialize(). After an error, the peer's
// connection must be closed.
func (c *Commands) Do(f Frame, b []byte) ([]byte, error) {
	if do := oneWay[f.Command]; do != nil {
		do(c, f)
		c.done(f.Command)
		return b, nil
	}
	ask := questions[f.Command]
	if ask == nil {
		return b, fmt.Errorf("%w: %d", ErrCommand, f.Command)
	}
	start := len(b)
	b = ask(c, f, append(b, 0, 0, 0, 0))
	putLength(b[start:])
	c.done(f.Command)
	return b, nil
}

func (c *Commands) done(command Command) {
	if c.Done != nil {
		c.Done(command)
	}
}

// refuse reports input that is ignored.
func (c *Commands) refuse(reason string) {
	if c.Refused != nil {
		c.Refused(reason)
	}
}

// named calls do with the uid or group of a command.
func (c *Commands) named(f Frame, do func(id uint32, name string)) {
	if !valid(f.Ext) {
		c.refuse("name")
		return
	}
	do(f.Connection, string(f.Ext))
}
