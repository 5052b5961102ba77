//go:build e2e && unix

package db

import (
	"strings"
	"testing"

	"wsframe/internal/testserver"
)

func TestMariaDB(t *testing.T) {
	s := testserver.StartMariaDB(t)
	for _, dsn := range []string{s.DSN, s.DSN + "?charset=utf8mb4&parseTime=True"} {
		g, err := Open(t.Context(), Options{Driver: "mysql", DSN: dsn})
		if err != nil {
			t.Fatal(err)
		}
		runModels(t, g)
		if err := Close(g); err != nil {
			t.Fatal(err)
		}
	}
	wrong := strings.Replace(s.DSN, "wsframe:", "wsframe:x", 1)
	if _, err := Open(t.Context(), Options{Driver: "mysql", DSN: wrong}); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a wrong password: %v", err)
	}
}
