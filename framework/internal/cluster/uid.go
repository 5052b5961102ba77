package cluster

import "encoding/json"

// uidOf is the user id in an identity's JSON whose type has an entry in UIDTOFD (contract §4: wechatUser only).
func uidOf(auth []byte) string {
	var id struct{ ID, Type string }
	if json.Unmarshal(auth, &id) != nil || id.Type != "wechatUser" {
		return ""
	}
	return id.ID
}
