// Package auth issues and verifies the tokens with which clients connect (contract §2).
//
//	tokens, err := auth.New(auth.Config{Keys: []string{key}, Lifetime: 24 * time.Hour})
//	token, err := tokens.Issue(auth.Identity{ID: "7", Type: "wechatUser", Code: "1001", Nickname: "小明"})
//	id, err := tokens.Verify(token)
//
// Tokens is safe for concurrent use.
package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"wsframe/framework/internal/ijson"
)

// Identity is the content of a token. ID and Code are texts, even if the token contains numbers.
type Identity struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Code     string `json:"code"` // room code
	Nickname string `json:"nickname"`
	CTime    int64  `json:"ctime" doc:"UNIX seconds"` // of issue
}

// TypeWechatUser is the type of WeChat users. Redis contains the connections of its users (contract
// §4).
const TypeWechatUser = "wechatUser"

// Limits of an identity's fields. ID, Type and Code become part of Redis keys, hence the alphabet.
const (
	maxName     = 64  // bytes of ID and Code
	maxType     = 32  // bytes
	maxNickname = 128 // characters
)

// safe tells whether a text may be part of a Redis key: A-Z a-z 0-9 _ . : @ -
func safe(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '_', c == '.', c == ':', c == '@', c == '-':
		default:
			return false
		}
	}
	return true
}

// Validate returns an error that names an unacceptable field.
func (id Identity) Validate() error {
	switch {
	case id.ID == "" || len(id.ID) > maxName || !safe(id.ID):
		return fmt.Errorf("id must be 1 to %d of the characters A-Z a-z 0-9 _ . : @ -", maxName)
	case id.Type == "" || len(id.Type) > maxType || !safe(id.Type):
		return fmt.Errorf("type must be 1 to %d of the characters A-Z a-z 0-9 _ . : @ -", maxType)
	case len(id.Code) > maxName || !safe(id.Code):
		return fmt.Errorf("code must be at most %d of the characters A-Z a-z 0-9 _ . : @ -", maxName)
	case !utf8.ValidString(id.Nickname) || utf8.RuneCountInString(id.Nickname) > maxNickname:
		return fmt.Errorf("nickname must be at most %d characters of UTF-8", maxNickname)
	}
	return nil
}

var errFields = errors.New("token's fields are not those of an identity")

// parse reads the five fields, each at most once and in this case. strict also refuses other
// fields, which detects most forgeries by moved cipher blocks, and requires a nickname.
func parse(plain []byte, strict bool) (id Identity, err error) {
	if !utf8.Valid(plain) || !json.Valid(plain) {
		return id, errFields
	}
	r := reader{b: plain}
	if r.space(); r.b[r.i] != '{' {
		return id, errFields
	}
	var seen uint
	for r.next() {
		key := text(r.value())
		r.space()
		r.i++ // the colon
		r.space()
		raw := r.value()
		field := slices.Index(fields[:], key)
		if field < 0 {
			if strict || slices.ContainsFunc(fields[:], func(f string) bool { return strings.EqualFold(f, key) }) {
				return id, errFields
			}
			continue
		}
		number := raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9'
		if seen&(1<<field) != 0 || raw[0] != '"' && !number {
			return id, errFields
		}
		seen |= 1 << field
		value := string(raw)
		if !number {
			value = text(raw)
		}
		switch key {
		case "id":
			id.ID = value
		case "code":
			id.Code = value
		case "ctime":
			if id.CTime, err = strconv.ParseInt(value, 10, 64); err != nil {
				return id, errFields
			}
		case "type":
			if id.Type = value; number {
				return id, errFields
			}
		case "nickname":
			if id.Nickname = value; number {
				return id, errFields
			}
		}
	}
	want := uint(1<<len(fields) - 1)
	if !strict {
		seen |= 1 << slices.Index(fields[:], "nickname")
	}
	if seen != want {
		return id, errFields
	}
	return id, id.Validate()
}

var fields = [...]string{"id", "type", "code", "nickname", "ctime"}

// reader iterates over the members of an object of valid JSON.
type reader struct {
	b []byte
	i int
}

func (r *reader) space() {
	for r.i < len(r.b) && (r.b[r.i] == ' ' || r.b[r.i] == '\t' || r.b[r.i] == '\n' || r.b[r.i] == '\r') {
		r.i++
	}
}

// next skips the brace or comma before a key. It returns false at the end of the object.
func (r *reader) next() bool {
	r.space()
	if r.b[r.i] == '}' {
		return false
	}
	r.i++
	r.space()
	return r.b[r.i] != '}'
}

// value returns the next key or value as raw JSON.
func (r *reader) value() []byte {
	raw := r.b[r.i:][:ijson.Length(r.b[r.i:])]
	r.i += len(raw)
	return raw
}

// text decodes a JSON string.
func text(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	_ = json.Unmarshal(raw, &s) // raw is valid
	return s
}
