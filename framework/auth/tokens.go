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

// ErrRefused is matched by every error of Verify. What stands behind it is for the log; clients see one answer for all.
var ErrRefused = errors.New("token refused")

// publicKey is the key in the original's published source: whoever has read it can issue tokens.
const publicKey = "marico-websocket"

// Fits tells whether key can be one of our own tokens; the published one and short ones are for the original's form only.
func Fits(key string) bool { return len(key) >= encrypt.MinKey && !strings.HasPrefix(key, publicKey) }

// maxToken bounds what is decoded at all.
const maxToken = 4096

// Config of Tokens.
type Config struct {
	Keys         []string      // the first issues, all verify; at least 16 bytes each
	Accept3DES   bool          // accept the original's form too
	TripleDESKey string        // 1 to 24 bytes
	Types3DES    []string      // user types that may come by it, "*" = all; nil = wechatUser only
	Lifetime     time.Duration // since ctime; 0 = tokens do not expire
	Skew         time.Duration // how far a ctime may lie in the future; 0 = 30 s
	Now          func() time.Time
}

// Tokens issues and verifies.
type Tokens struct {
	cfg    Config
	gcm    *encrypt.GCM
	triple *encrypt.TripleDES // nil = not accepted
}

// New checks the keys. The original's published key is refused for our own form.
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

// Issue makes a token; a CTime of 0 becomes now.
func (t *Tokens) Issue(id Identity) (string, error) {
	b, err := t.plain(&id)
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	return t.gcm.Seal(b)
}

// Issue3DES makes a token of the original's form, for clients of an estate that has not moved yet.
func (t *Tokens) Issue3DES(id Identity) (string, error) {
	if t.triple == nil {
		return "", errors.New("issue token: auth.key_3des is empty")
	}
	b, err := t.plain(&id)
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	if t.cfg.Accept3DES && !t.takes3DES(id.Type) {
		return "", fmt.Errorf("issue token: 3DES tokens of the type %s are refused: auth.types_3des holds %s", id.Type, strings.Join(t.cfg.Types3DES, ", "))
	}
	return t.triple.Seal(b), nil
}

// takes3DES tells whether users of that type may come by the original's form. Its blocks can be moved without the key, so whoever has tokens
// can make one of another type: only types that have no more rights than those who have tokens belong there.
func (t *Tokens) takes3DES(kind string) bool {
	return slices.Contains(t.cfg.Types3DES, kind) || slices.Contains(t.cfg.Types3DES, "*")
}

// Verify gives the identity of a token that this server or a back end with its key has issued.
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
	if !ours && !t.takes3DES(id.Type) {
		return id, errors.New("this user type does not come by 3DES (auth.types_3des)")
	}
	now := t.cfg.Now()
	if id.CTime <= 0 || id.CTime > now.Add(t.cfg.Skew).Unix() { // compared as numbers: a time of 2^63-1 seconds would wrap
		return id, errors.New("issued in the future")
	}
	if t.cfg.Lifetime > 0 && now.After(time.Unix(id.CTime, 0).Add(t.cfg.Lifetime+t.cfg.Skew)) {
		return id, errors.New("expired")
	}
	return id, nil
}
