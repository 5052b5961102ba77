//go:build e2e && unix

package live_test

import (
	"testing"

	"wsframe/internal/testserver"
	"wsframe/library/db"
)

func TestMessagesOnMariaDB(t *testing.T) {
	s := testserver.StartMariaDB(t)
	testMessages(t, db.Options{Driver: "mysql", DSN: s.DSN + "?charset=utf8mb4&parseTime=True"})
}
