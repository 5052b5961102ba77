package framework

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// trusted sets the server's keys fd, auth and code in a body.
func trusted(body []byte, fd int64, who Identity) []byte {
	identity, _ := json.Marshal(struct { // strings: it cannot fail
		ID       string `json:"id"`
		Type     string `json:"type"`
		Code     string `json:"code"`
		Nickname string `json:"nickname"`
	}{who.ID, who.Type, who.Code, who.Nickname})
	code, _ := json.Marshal(who.Code)
	b := append(make([]byte, 0, len(body)+len(identity)+len(code)+48), `{"fd":`...)
	b = strconv.AppendInt(b, fd, 10)
	b = append(append(b, `,"auth":`...), identity...)
	b = append(append(b, `,"code":`...), code...)
	inner := bytes.TrimSpace(body)
	inner = bytes.TrimSpace(inner[1:]) // a JSON object: frame.Decode has checked it
	if inner[0] != '}' {
		b = append(b, ',')
	}
	return append(b, inner...)
}
