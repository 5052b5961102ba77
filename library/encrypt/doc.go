// Package encrypt holds the two ciphers of auth tokens: AES-256-GCM, which is ours, and the original's 3DES form.
//
//	g, err := encrypt.NewGCM(currentKey, previousKey)
//	token, err := g.Seal([]byte(`{"id":"7"}`))
//	plain, err := g.Open(token)
//
// All types are safe for concurrent use.
package encrypt
