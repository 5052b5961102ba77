package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"wsframe/library/encrypt"
)

// ErrRefused matches every error of Verify. The wrapped cause is for the log; clients receive the
// same answer for all causes.
var ErrRefused = errors.New("token refused")

// publicKey is the key in the published source of MSwoole-ws: anyone who read it can issue tokens.
const publicKey = "marico-websocket"

// Fits tells whether a key can serve tokens of the current form. The published key and short keys
// can serve only 3DES tokens.
func Fits(key string) bool { return len(key) >= encrypt.MinKey && !strings.HasPrefix(key, publicKey) }

// maxToken is the greatest length of a token that Verify decodes.
const maxToken = 4096

// Config of Tokens.
type Config struct {
	Keys         []string      // at least 16 bytes each; the first issues, all verify
	Accept3DES   bool          // also accept the 3DES form
	TripleDESKey string        // 1 to 24 bytes
	Types3DES    []string      // user types that may use 3DES; "*" = all, nil = wechatUser
	Lifetime     time.Duration // validity since ctime; 0 = unlimited
	Skew         time.Duration // tolerance for clocks that differ; 0 = 30 s
	Now          func() time.Time
}

// Tokens issues and verifies tokens.
type Tokens struct {
	cfg    Config
	gcm    *encrypt.GCM
	triple *encrypt.TripleDES // nil = 3DES is not accepted
}

// New checks the keys and makes Tokens. It refuses the published key of MSwoole-ws for the current
// form.
func New(cfg Config) (*Tokens, error) {
	t := &Tokens{cfg: cfg}
	for _, k := range cfg.Keys {
		if strings.HasPrefix(k, publicKey) {
			return nil, errors.New("auth.key: this key is published with the original's source; choose another")
		}
	}
	var err error
	if t.gcm, err = encrypt.NewGCM(cfg.Keys...); err != nil {
		return nil, fmt.Errorf("auth.key: %w", err)
	}
	if cfg.TripleDESKey != "" {
		if t.triple, err = encrypt.NewTripleDES(cfg.TripleDESKey); err != nil {
			return nil, fmt.Errorf("auth.key_3des: %w", err)
		}
	}
	if cfg.Accept3DES && t.triple == nil {
		return nil, errors.New("auth.accept_3des is on, but auth.key_3des is empty")
	}
	if cfg.Types3DES == nil {
		t.cfg.Types3DES = []string{TypeWechatUser}
	}
	if t.cfg.Skew == 0 {
		t.cfg.Skew = 30 * time.Second
	}
	if t.cfg.Now == nil {
		t.cfg.Now = time.Now
	}
	return t, nil
}

func (t *Tokens) plain(id *Identity) ([]byte, error) {
	if id.CTime == 0 {
		id.CTime = t.cfg.Now().Unix()
	}
	if err := id.Validate(); err != nil {
		return nil, err
	}
	return json.Marshal(id)
}

// Issue makes a token. A CTime of 0 means now.
func (t *Tokens) Issue(id Identity) (string, error) {
	b, err := t.plain(&id)
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	return t.gcm.Seal(b)
}

// Issue3DES makes a token in the 3DES form of MSwoole-ws.
func (t *Tokens) Issue3DES(id Identity) (string, error) {
	if t.triple == nil {
		return "", errors.New("issue token: auth.key_3des is empty")
	}
	b, err := t.plain(&id)
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	if t.cfg.Accept3DES && !t.accepts3DES(id.Type) {
		return "", fmt.Errorf("issue token: 3DES tokens of the type %s are refused: auth.types_3des holds %s", id.Type, strings.Join(t.cfg.Types3DES, ", "))
	}
	return t.triple.Seal(b), nil
}

// accepts3DES tells whether users of a type may use the 3DES form. Its blocks can be moved without
// the key, so anyone who holds tokens can forge one of another type. The list must therefore
// contain only types with no more rights than the users who hold tokens.
func (t *Tokens) accepts3DES(kind string) bool {
	return slices.Contains(t.cfg.Types3DES, kind) || slices.Contains(t.cfg.Types3DES, "*")
}

// Verify returns the identity of a token that was issued with one of the keys, or an error that
// matches ErrRefused.
func (t *Tokens) Verify(token string) (Identity, error) {
	id, err := t.verify(token)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return id, nil
}

func (t *Tokens) verify(token string) (id Identity, err error) {
	switch {
	case token == "":
		return id, errors.New("there is none")
	case len(token) > maxToken:
		return id, errors.New("too long")
	}
	ours := strings.HasPrefix(token, encrypt.Prefix)
	var plain []byte
	switch {
	case ours:
		plain, err = t.gcm.Open(token)
	case t.cfg.Accept3DES:
		plain, err = t.triple.Open(token)
	default:
		return id, errors.New("not of our form")
	}
	if err != nil {
		return id, err
	}
	if id, err = parse(plain, !ours); err != nil {
		return id, err
	}
	if !ours && !t.accepts3DES(id.Type) {
		return id, errors.New("this user type does not come by 3DES (auth.types_3des)")
	}
	now := t.cfg.Now()
	if id.CTime <= 0 || id.CTime > now.Add(t.cfg.Skew).Unix() { // compared as numbers, because a time.Time of 2^63-1 seconds would overflow
		return id, errors.New("issued in the future")
	}
	if t.cfg.Lifetime > 0 && now.After(time.Unix(id.CTime, 0).Add(t.cfg.Lifetime+t.cfg.Skew)) {
		return id, errors.New("expired")
	}
	return id, nil
}
