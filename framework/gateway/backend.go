package gateway

// Backend holds the clients of this gateway and does what commands ask. It acts on clients of
// this node only, since PHP asks each gateway and joins the answers itself.
//
// A command about a client that is not there does nothing. Methods are called concurrently. Names
// of uids and groups are never empty, are never "0", and have at most 128 bytes, which may be any.
type Backend interface {
	Senders
	Members
	Lists
	// ForPeer returns a Backend for the commands of one peer, which are called one after the other.
	// Whatever a peer sends to one client must arrive in the order of the calls, and a client that
	// joins a group gets nothing that the peer has sent to it before.
	ForPeer() Backend
	// Settle returns when everything that the peer has sent so far is on its way to the clients.
	// Commands of another peer then come after it.
	Settle()
}

// Senders delivers messages, each by Message.Frame.
type Senders interface {
	// SendTo sends to each of the connections, and again to one that is listed again.
	SendTo(ids []uint32, m Message)
	// SendToAll sends to all clients but the excluded ones.
	SendToAll(exclude []uint32, m Message)
	// SendToUID sends to all connections of a user.
	SendToUID(uid string, m Message)
	// SendToGroup sends to all members of a group but the excluded ones.
	SendToGroup(group string, exclude []uint32, m Message)
	// Kick closes a connection with code 1000 after everything that waits for it and after the
	// last message, which is nil if there is none. Questions do not find the client any more.
	Kick(id uint32, last *Message)
	// Destroy closes a connection without what waits for it.
	Destroy(id uint32)
}

// Members changes what belongs to a client.
type Members interface {
	// Bind makes uid the user of a client, in place of the one before.
	Bind(id uint32, uid string)
	// Unbind removes the user of a client.
	Unbind(id uint32)
	// Join adds a client to a group.
	Join(id uint32, group string)
	// Leave removes a client from a group.
	Leave(id uint32, group string)
	// Ungroup removes all members from a group.
	Ungroup(group string)
	// SetSession calls change with the session of a client, which is empty at first, and stores
	// what it returns unless ok is false. Changes of one client's session exclude each other.
	SetSession(id uint32, change func(old []byte) (session []byte, ok bool))
}

// Lists reports what the gateway holds. Connections are in the order of connecting, binding or
// joining, or sorted by their numbers.
type Lists interface {
	// Online reports whether the client is connected.
	Online(id uint32) bool
	// Clients returns all connections.
	Clients() []uint32
	// ClientsOfUID returns the connections of a user.
	ClientsOfUID(uid string) []uint32
	// ClientsInGroup returns the members of a group.
	ClientsInGroup(group string) []uint32
	// CountClients returns the number of all connections.
	CountClients() int
	// CountInGroup returns the number of a group's members.
	CountInGroup(group string) int
	// Groups returns the groups that have members.
	Groups() []string
	// Client returns what is known of a client. Fields that are not asked for may be empty.
	Client(id uint32, fields Fields) (c Client, ok bool)
}

// Fields are the parts of a Client that are asked for.
type Fields uint8

// Parts of a Client.
const (
	FieldUID Fields = 1 << iota
	FieldGroups
	FieldSession
)

// Client is what the gateway knows of a connection.
type Client struct {
	UID     string   // "" = none
	Groups  []string // nil = it never joined one; empty = it left all
	Session []byte   // PHP's serialize(); empty at first
}
