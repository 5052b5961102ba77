package config

// SocketIO is the part of config/app.yaml for pages of web-msg-sender, and other socket.io clients.
type SocketIO struct {
	Enabled bool
	Host    string
	Port    int
	Login   string // LoginToken or LoginAny
	Origins []string
}

// The values of SocketIO.Login: whose login counts.
const (
	LoginToken = "token" // that of the token of the connection
	LoginAny   = "any"   // whatever the page says
)

func defaultSocketIO() SocketIO { return SocketIO{Host: "127.0.0.1", Port: 2120, Login: LoginToken} }

func (s *SocketIO) validate(bad complain) {
	oneOf(bad, "app", "socketio.login", s.Login, LoginToken, LoginAny)
	for _, o := range s.Origins {
		if !isOrigin(o) {
			bad("app", "socketio.origins", "%.80q: write https://example.com, with the port if it is unusual; \"*\" alone means any page", o)
		}
	}
}

// warnings returns a line for each setting that is valid but risky.
func (s *SocketIO) warnings() (list []string) {
	if !s.Enabled {
		return nil
	}
	if s.Login == LoginAny {
		list = append(list, "socketio.login is any: every page that reaches socketio.port may log in as any user, and gets that user's messages")
	}
	return list
}
