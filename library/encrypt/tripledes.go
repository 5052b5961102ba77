package encrypt

import (
	"crypto/cipher"
	"crypto/des"
	"encoding/base64"
	"errors"
	"strings"
)

// TripleDES is the token cipher of MSwoole-ws: 3DES-EDE in ECB mode with PKCS#5 padding, the key
// right-padded with the character 0 to 24 bytes, and base64 with * : _ for + / = (contract §2). It
// provides no authentication: anyone who holds tokens can recombine their blocks. Use it only to
// accept tokens of back ends that were written for MSwoole-ws.
type TripleDES struct{ block cipher.Block }

// NewTripleDES makes a cipher from a key of 1 to 24 bytes.
func NewTripleDES(key string) (*TripleDES, error) {
	if key == "" || len(key) > 24 {
		return nil, errors.New("a 3DES key has 1 to 24 bytes")
	}
	block, err := des.NewTripleDESCipher([]byte(key + strings.Repeat("0", 24-len(key))))
	if err != nil {
		return nil, err
	}
	return &TripleDES{block}, nil
}

var (
	toURL   = strings.NewReplacer("+", "*", "/", ":", "=", "_")
	fromURL = strings.NewReplacer("*", "+", ":", "/", "_", "=")
)

// Seal encrypts plain.
func (t *TripleDES) Seal(plain []byte) string {
	pad := des.BlockSize - len(plain)%des.BlockSize
	b := append(make([]byte, 0, len(plain)+pad), plain...)
	for range pad {
		b = append(b, byte(pad))
	}
	for i := 0; i < len(b); i += des.BlockSize {
		t.block.Encrypt(b[i:], b[i:])
	}
	return toURL.Replace(base64.StdEncoding.EncodeToString(b))
}

// Open decrypts a token, or returns ErrOpen if it does not have this form. The plain text is not
// authenticated.
func (t *TripleDES) Open(token string) ([]byte, error) {
	if strings.ContainsAny(token, "+/=\r\n") {
		return nil, ErrOpen
	}
	b, err := base64.StdEncoding.Strict().DecodeString(fromURL.Replace(token))
	if err != nil || len(b) == 0 || len(b)%des.BlockSize != 0 {
		return nil, ErrOpen
	}
	for i := 0; i < len(b); i += des.BlockSize {
		t.block.Decrypt(b[i:], b[i:])
	}
	pad := int(b[len(b)-1])
	if pad == 0 || pad > des.BlockSize {
		return nil, ErrOpen
	}
	for _, v := range b[len(b)-pad:] {
		if int(v) != pad {
			return nil, ErrOpen
		}
	}
	return b[:len(b)-pad], nil
}
