package encrypt

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

const key, otherKey = "0123456789abcdef", "another key, longer than 16"

// vector was sealed with key by PHP 8.2's openssl_encrypt, nonce 00 01 … 0b.
const (
	vectorPlain = `{"id":"7","type":"wall","code":"A1","nickname":"小明","ctime":1700000000}`
	vectorToken = "w1.AAECAwQFBgcICQoLAEMjJkUH0H2GQAuCF6lQ-ow12qn4VqcJ7clny8PF1nloFW1hxrHrEYNV8quY072i_IjcQGb3qD0QhjUp1-fn9854xGbhQQMHoo2LfnkGzyYlj1q7E0_pqe-yhg"
)

func gcm(t testing.TB, keys ...string) *GCM {
	g, err := NewGCM(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGCMVector(t *testing.T) {
	if plain, err := gcm(t, key).Open(vectorToken); err != nil || string(plain) != vectorPlain {
		t.Fatalf("%q %v", plain, err)
	}
}

func TestGCM(t *testing.T) {
	oldOne, rotated := gcm(t, otherKey, ""), gcm(t, key, otherKey)
	for _, plain := range []string{"", "x", vectorPlain, strings.Repeat("\x00\xff", 4000)} {
		for _, g := range []*GCM{oldOne, rotated} {
			token, err := g.Seal([]byte(plain))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := rotated.Open(token); err != nil || string(got) != plain {
				t.Fatalf("%q became %q, %v", plain, got, err)
			}
		}
	}
	token, _ := rotated.Seal([]byte("x"))
	if _, err := oldOne.Open(token); !errors.Is(err, ErrOpen) {
		t.Fatalf("opened with the old key alone: %v", err)
	}
	if again, _ := rotated.Seal([]byte("x")); again == token {
		t.Fatal("a nonce was used twice")
	}
}

// Open refuses every changed bit, and every other base64 spelling of the same bytes.
func TestGCMTampered(t *testing.T) {
	g := gcm(t, key)
	raw, err := base64.RawURLEncoding.DecodeString(vectorToken[len(Prefix):])
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(raw) * 8 {
		changed := bytes.Clone(raw)
		changed[bit/8] ^= 1 << (bit % 8)
		if _, err := g.Open(Prefix + base64.RawURLEncoding.EncodeToString(changed)); !errors.Is(err, ErrOpen) {
			t.Fatalf("bit %d changed: %v", bit, err)
		}
	}
	for name, token := range map[string]string{
		"empty": "", "prefix alone": Prefix, "no prefix": vectorToken[len(Prefix):], "other case": "W1." + vectorToken[3:],
		"next version": "w2." + vectorToken[3:], "nonce alone": vectorToken[:3+16], "truncated": vectorToken[:len(vectorToken)-2],
		"line end": vectorToken[:20] + "\n" + vectorToken[20:], "last line end": vectorToken + "\r\n", "padded": vectorToken + "==",
		"loose last bits": vectorToken[:len(vectorToken)-1] + next(vectorToken[len(vectorToken)-1]), "space": " " + vectorToken,
		"standard base64": Prefix + base64.StdEncoding.EncodeToString(raw),
	} {
		if _, err := g.Open(token); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// next returns the base64 digit after c. As the last digit of a token, it differs in unused bits,
// or in the tag.
func next(c byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(digits[(strings.IndexByte(digits, c)+1)%64])
}

func TestKeys(t *testing.T) {
	for _, keys := range [][]string{{}, {""}, {"", key}, {"fifteen bytes.."}, {key, "short"}} {
		if _, err := NewGCM(keys...); err == nil {
			t.Errorf("GCM takes the keys %q", keys)
		} else if len(keys) > 0 && !strings.Contains(err.Error(), "at least 16 bytes") {
			t.Errorf("keys %q: %v", keys, err)
		}
	}
	for _, k := range []string{"", strings.Repeat("k", 25)} {
		if _, err := NewTripleDES(k); err == nil {
			t.Errorf("3DES takes the key %q", k)
		}
	}
}

// Tests in framework/auth use vectors of MSwoole-ws. These cases are not in the vectors.
func TestTripleDES(t *testing.T) {
	for _, k := range []string{"k", "marico-websocket", strings.Repeat("k", 24)} {
		cipher, err := NewTripleDES(k)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 40 {
			plain := bytes.Repeat([]byte{byte(n), 0xff}, n)
			before := bytes.Clone(plain)
			token := cipher.Seal(plain)
			if strings.ContainsAny(token, "+/=") {
				t.Fatalf("token %s", token)
			}
			if got, err := cipher.Open(token); err != nil || !bytes.Equal(got, plain) || !bytes.Equal(plain, before) {
				t.Fatalf("%x became %x, %v", plain, got, err)
			}
		}
	}
	cipher, _ := NewTripleDES("marico-websocket")
	good := cipher.Seal([]byte("12345678"))
	for name, token := range map[string]string{
		"empty": "", "standard base64": strings.NewReplacer("*", "+", ":", "/", "_", "=").Replace(good), "line end": good[:4] + "\n" + good[4:],
		"half a block": good[:len(good)-4], "a block short": good[:11] + "_", "not base64": "!!!!!!!!!!!_", "not ASCII": "小明",
	} {
		if got, err := cipher.Open(token); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

func FuzzGCMOpen(f *testing.F) {
	g := gcm(f, key)
	f.Add(vectorToken)
	f.Add("w1.AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		plain, err := g.Open(token)
		if err == nil && token != vectorToken {
			t.Fatalf("%q opens as %q", token, plain)
		}
	})
}

func FuzzTripleDESOpen(f *testing.F) {
	cipher, err := NewTripleDES("marico-websocket")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("d9CyuxtRvVo_")
	f.Add("SFU3ZxN9cnVBgV5Fe2MoAA__")
	f.Fuzz(func(t *testing.T, token string) {
		// ECB decrypts much, but each plain text has exactly one token.
		if plain, err := cipher.Open(token); err == nil && cipher.Seal(plain) != token {
			t.Fatalf("%q opens as %q, whose token is %q", token, plain, cipher.Seal(plain))
		}
	})
}
