package credentials

import (
	"context"
	"errors"
	"testing"

	"wsframe/framework/auth"
	"wsframe/framework/internal/accept"
)

func verify(token string) (auth.Identity, error) {
	if token == "w1.good" || token == "old" {
		return auth.Identity{ID: "token"}, nil
	}
	return auth.Identity{}, errors.New("bad token")
}

// Who decides about which token.
func TestChecker(t *testing.T) {
	for _, tc := range []struct {
		name  string
		cfg   Config
		token string
		id    string
		fails bool
	}{
		{"a token", Config{Check: true, Tokens: verify}, "w1.good", "token", false},
		{"a token of the original", Config{Check: true, Tokens: verify}, "old", "token", false},
		{"a bad token", Config{Check: true, Tokens: verify}, "w1.bad", "", true},
		{"no token", Config{Check: true, Tokens: verify}, "", "", true},
		{"nothing is accepted", Config{Check: true}, "w1.good", "", true},
		{"the check is off", Config{Tokens: verify}, "", "", false},
		{"the check is off, a token", Config{Tokens: verify}, "w1.good", "token", false},
		{"the check is off, a bad token", Config{Tokens: verify}, "w1.bad", "", false},
	} {
		id, err := New(tc.cfg).Authenticate(&accept.Handshake{Token: tc.token})
		if id.ID != tc.id || (err != nil) != tc.fails {
			t.Errorf("%s: %q %v", tc.name, id.ID, err)
		}
	}
	asked := Config{Check: true, Tokens: verify, Own: func(context.Context, *accept.Handshake) (auth.Identity, error) {
		t.Error("the application is asked about a token of this server's form")
		return auth.Identity{}, nil
	}}
	if _, err := New(asked).Authenticate(&accept.Handshake{Token: "w1.bad"}); err == nil {
		t.Error("a bad token")
	}
}
