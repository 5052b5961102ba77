// Package auth says who may connect: it issues and verifies the tokens of the handshake (contract §2).
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
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Identity is what a token says. ID and Code are texts here, whether the token holds a string or a number.
type Identity struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Code     string `json:"code"` // room code
	Nickname string `json:"nickname"`
	CTime    int64  `json:"ctime"` // UNIX seconds of issue
}

// Limits of an identity's fields. ID, Type and Code enter the names of Redis keys, hence the alphabet.
const (
	maxName     = 64  // bytes of ID and Code
	maxType     = 32  // bytes
	maxNickname = 128 // characters
)

var safe = regexp.MustCompile(`^[A-Za-z0-9_.:@-]*$`)

// Validate tells what about the identity cannot be accepted.
func (id Identity) Validate() error {
	switch {
	case id.ID == "" || len(id.ID) > maxName || !safe.MatchString(id.ID):
		return fmt.Errorf("id must be 1 to %d of the characters A-Z a-z 0-9 _ . : @ -", maxName)
	case id.Type == "" || len(id.Type) > maxType || !safe.MatchString(id.Type):
		return fmt.Errorf("type must be 1 to %d of the characters A-Z a-z 0-9 _ . : @ -", maxType)
	case len(id.Code) > maxName || !safe.MatchString(id.Code):
		return fmt.Errorf("code must be at most %d of the characters A-Z a-z 0-9 _ . : @ -", maxName)
	case !utf8.ValidString(id.Nickname) || utf8.RuneCountInString(id.Nickname) > maxNickname:
		return fmt.Errorf("nickname must be at most %d characters of UTF-8", maxNickname)
	}
	return nil
}

var errFields = errors.New("token's fields are not those of an identity")

// parse reads the five fields. strict refuses all others, which catches most forgeries by moved cipher blocks; keys may
// stand only once in either case.
func parse(plain []byte, strict bool) (id Identity, err error) {
	if !utf8.Valid(plain) {
		return id, errFields
	}
	d := json.NewDecoder(bytes.NewReader(plain))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return id, errFields
	}
	var seen [8]string
	n := 0
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok || n == len(seen) {
			return id, errFields
		}
		for _, k := range seen[:n] {
			if strings.EqualFold(k, key) {
				return id, errFields
			}
		}
		seen[n] = key
		n++
		if t, err = d.Token(); err != nil {
			return id, errFields
		}
		var text string
		switch v := t.(type) {
		case string:
			text = v
		case json.Number:
			text = v.String()
			if key == "type" || key == "nickname" {
				return id, errFields
			}
		default:
			return id, errFields // a list, an object, true, null
		}
		switch key {
		case "id":
			id.ID = text
		case "type":
			id.Type = text
		case "code":
			id.Code = text
		case "nickname":
			id.Nickname = text
		case "ctime":
			if id.CTime, err = strconv.ParseInt(text, 10, 64); err != nil {
				return id, errFields
			}
		default:
			if strict {
				return id, errFields
			}
			n-- // not counted: any number of others may come, but then their doubles are not ours to find
		}
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return id, errFields
	}
	if _, err := d.Token(); err != io.EOF {
		return id, errFields
	}
	for _, want := range []string{"id", "type", "code", "ctime", "nickname"} {
		found := want == "nickname" && !strict
		for _, k := range seen[:n] {
			found = found || k == want
		}
		if !found {
			return id, errFields
		}
	}
	return id, id.Validate()
}
