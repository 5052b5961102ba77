package encrypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// ErrOpen says that a token was not made with any of the keys, or was changed.
var ErrOpen = errors.New("token does not open with any key")

// Prefix is the version at the beginning of every GCM token.
const Prefix = "w1."

// MinKey is the least length of a key in bytes.
const MinKey = 16

// GCM seals with AES-256-GCM (NIST SP 800-38D). A token is "w1." and the URL-safe base64, without
// padding, of nonce (12 bytes) | ciphertext | tag (16 bytes); the prefix is authenticated too. The
// AES key is the SHA-256 of the key text.
type GCM struct{ aeads []cipher.AEAD }

// NewGCM makes a GCM that seals with the first key and opens with every key, so that keys can be
// rotated. Empty keys after the first are ignored.
func NewGCM(keys ...string) (*GCM, error) {
	g := &GCM{}
	for i, key := range keys {
		if key == "" && i > 0 {
			continue
		}
		if len(key) < MinKey {
			return nil, fmt.Errorf("a key needs at least %d bytes, this one has %d", MinKey, len(key))
		}
		sum := sha256.Sum256([]byte(key))
		block, err := aes.NewCipher(sum[:])
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		g.aeads = append(g.aeads, aead)
	}
	if len(g.aeads) == 0 {
		return nil, errors.New("no key")
	}
	return g, nil
}

// Seal encrypts plain with the first key and a random nonce.
func (g *GCM) Seal(plain []byte) (string, error) {
	aead := g.aeads[0]
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("make a nonce: %w", err)
	}
	return Prefix + base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, plain, []byte(Prefix))), nil
}

// Open returns the plain text of a token that was sealed with any of the keys, or ErrOpen.
func (g *GCM) Open(token string) ([]byte, error) {
	text, ok := strings.CutPrefix(token, Prefix)
	if !ok || strings.ContainsAny(text, "\r\n") { // base64 would ignore line ends, but a token has only one spelling
		return nil, ErrOpen
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, ErrOpen
	}
	for _, aead := range g.aeads {
		if len(raw) < aead.NonceSize() {
			break
		}
		plain, err := aead.Open(nil, raw[:aead.NonceSize()], raw[aead.NonceSize():], []byte(Prefix))
		if err == nil {
			return plain, nil
		}
	}
	return nil, ErrOpen
}
