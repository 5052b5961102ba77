package auth_test

import (
	"errors"
	"fmt"
	"time"

	"wsframe/framework/auth"
)

// A server whose key was replaced still accepts the tokens of the previous key.
func Example() {
	const current, previous = "the key of this year, at least 16 bytes", "the key of last year, at least 16 bytes"
	old, err := auth.New(auth.Config{Keys: []string{previous}})
	if err != nil {
		panic(err)
	}
	token, err := old.Issue(auth.Identity{ID: "7", Type: auth.TypeWechatUser, Code: "1001", Nickname: "小明", CTime: time.Now().Unix()})
	if err != nil {
		panic(err)
	}

	tokens, err := auth.New(auth.Config{Keys: []string{current, previous}, Lifetime: 24 * time.Hour})
	if err != nil {
		panic(err)
	}
	id, err := tokens.Verify(token)
	fmt.Println(id.ID, id.Type, id.Code, id.Nickname, err)

	_, err = tokens.Verify("made up")
	fmt.Println("refused:", errors.Is(err, auth.ErrRefused))
	// Output:
	// 7 wechatUser 1001 小明 <nil>
	// refused: true
}
