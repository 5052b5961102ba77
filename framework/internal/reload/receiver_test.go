package reload

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/question"
)

// script is an old process that sends the same message again and again.
type script struct {
	Pipe
	kind byte
	body []byte
}

func (s script) Receive(time.Duration) (byte, []byte, error) { return s.kind, s.body, nil }
func (script) Send(byte, []byte, []*hub.Conn) error          { return nil }

// A worker reads its own version of the transfer only, and names the other one.
func TestOtherTransferVersion(t *testing.T) {
	const other = hub.TransferVersion + 1
	for name, test := range map[string]struct {
		s    script
		says string
	}{
		"another version": {script{kind: msgHello, body: []byte{other, 5}}, "writes version 2, this one reads 1"},
		"no version":      {script{kind: msgHello}, ""},
		"no hello":        {script{kind: msgBatch, body: []byte("[]")}, ""},
	} {
		moved, err := Receive(Config{Questions: &question.Book{}}, test.s, func() { t.Errorf("%s: it serves", name) })
		if !errors.Is(err, errNotTransfer) || !strings.Contains(err.Error(), test.says) || moved.Connections != 0 {
			t.Errorf("%s: %v, %+v", name, err, moved)
		}
	}
}
