// Package encrypt contains the two ciphers of auth tokens: AES-256-GCM, and the 3DES form of
// MSwoole-ws.
//
//	g, err := encrypt.NewGCM(currentKey, previousKey)
//	token, err := g.Seal([]byte(`{"id":"7"}`))
//	plain, err := g.Open(token)
//
// All types are safe for concurrent use.
package encrypt
