package gateway

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
)

// lines decodes a file of recordings, one JSON document on each line.
func lines[T any](t testing.TB, file string, least int) (list []T) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var one T
		if err := json.Unmarshal(s.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		list = append(list, one)
	}
	if len(list) < least {
		t.Fatalf("%s has %d lines", file, len(list))
	}
	return list
}

// exchange is all that PHP wrote to a connection, and all that it got, in hexadecimal digits.
type exchange struct{ Peer, Request, Reply string }

type call struct {
	Step      int
	About     string
	PHP       string
	Exchanges []exchange
	Got       map[string][]any
}

// run executes the frames of a stream and returns the answers.
func run(t testing.TB, c *Commands, stream []byte) (answers []byte, err error) {
	t.Helper()
	frames, err := framesOf(bytes.NewReader(stream))
	if err != io.EOF {
		t.Fatal(err)
	}
	for _, f := range frames {
		if answers, err = c.Do(f, answers); err != nil {
			return answers, err
		}
	}
	return answers, nil
}

func unhex(t testing.TB, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// received returns what each client got, in the form of the recordings, and forgets it.
func (b *fake) received() map[string][]any {
	got := map[string][]any{}
	for _, c := range b.clients {
		name := fmt.Sprint("c", c.id)
		for _, m := range c.got {
			if m.Binary {
				got[name] = append(got[name], map[string]any{"opcode": 2.0, "hex": hex.EncodeToString(m.Payload)})
			} else {
				got[name] = append(got[name], string(m.Payload))
			}
		}
		c.got = nil
	}
	return got
}

// All recorded commands are answered and delivered as the original did.
func TestRecordedCommands(t *testing.T) {
	b := newFake()
	c := &Commands{Backend: b, Refused: func(reason string) { t.Logf("refused: %s", reason) }}
	count := 0
	for _, one := range lines[call](t, "commands.jsonl", 90)[1:] {
		switch one.Step {
		case 5:
			for id := uint32(1); id <= 4; id++ {
				b.connect(id)
			}
		case 92:
			b.connect(5)
		case 93: // an unknown command: the original ignores it, this package closes
			if _, err := run(t, c, unhex(t, one.Exchanges[0].Request)); !errors.Is(err, ErrCommand) {
				t.Errorf("%s: %v", one.PHP, err)
			}
			continue
		}
		for _, e := range one.Exchanges {
			count++
			answers, err := run(t, c, unhex(t, e.Request))
			if got := hex.EncodeToString(answers); err != nil || got != e.Reply {
				t.Errorf("step %d %s:\n%s, want\n%s, %v", one.Step, one.PHP, answers, unhex(t, e.Reply), err)
			}
		}
		want := one.Got
		if want == nil {
			want = map[string][]any{}
		}
		if got := b.received(); !reflect.DeepEqual(got, want) {
			t.Errorf("step %d %s: clients got %v, want %v", one.Step, one.PHP, got, want)
		}
	}
	if count < 85 || b.Online(2) || b.Online(3) || b.Online(4) || b.Online(5) || !b.Online(1) {
		t.Error(count, b.Clients())
	}
}

func TestNames(t *testing.T) {
	doc, err := os.ReadFile("testdata/keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Keys []struct {
			JSON  string
			Key   any
			Empty bool
		}
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&vectors); err != nil || len(vectors.Keys) < 15 {
		t.Fatal(err, len(vectors.Keys))
	}
	for _, one := range vectors.Keys {
		got, ok := nameOf([]byte(one.JSON))
		if !ok || got != fmt.Sprint(one.Key) {
			t.Errorf("%s: %q, want %v", one.JSON, got, one.Key)
		}
		if valid(got) == one.Empty {
			t.Errorf("%s: valid is %v", one.JSON, !one.Empty)
		}
	}
	for _, text := range []string{"1e30", "-1e30", "1e999", "[]", "{}"} {
		if got, ok := nameOf([]byte(text)); ok {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// question returns the answer to a command without its length.
func question(t testing.TB, c *Commands, f Frame) string {
	t.Helper()
	b, err := c.Do(f, nil)
	if err != nil || len(b) < 4 {
		t.Fatalf("%d: %q, %v", f.Command, b, err)
	}
	return string(b[4:])
}

func TestBadInput(t *testing.T) {
	refused := 0
	b := newFake(1, 2)
	c := &Commands{Backend: b, SessionBytes: 100, Refused: func(string) { refused++ }}
	do := func(cmd Command, ext, body string, flag byte) {
		t.Helper()
		if answer, err := c.Do(Frame{Command: cmd, Connection: 1, Flag: flag, Ext: []byte(ext), Body: []byte(body)}, nil); err != nil || len(answer) > 0 {
			t.Errorf("%d %q: %q, %v", cmd, ext, answer, err)
		}
	}
	do(cmdBindUID, "u", "", 1)
	do(cmdJoinGroup, "g", "", 1)
	deep := strings.Repeat("[", 17) + strings.Repeat("]", 17)
	for _, ext := range []string{"{", "x", "5", `"u"`, "null", "\"\xff\"", "[\"\xff\"]", deep, "[1] ]"} {
		for _, cmd := range []Command{cmdBatchClientsByUID, cmdSelect, cmdBatchCountByGroup} {
			if got := question(t, c, Frame{Command: cmd, Ext: []byte(ext)}); got != "a:0:{}" {
				t.Errorf("%d %q: %s", cmd, ext, got)
			}
		}
		for _, cmd := range []Command{cmdSendToAll, cmdSendToUID, cmdSendToGroup} {
			do(cmd, ext, "no", 1)
		}
	}
	for cmd, ext := range map[Command]string{cmdSendToAll: `{"connections":5}`, cmdSendToGroup: `{"group":["g"],"exclude":"x"}`, cmdSendToUID: `[[1],{},"","0",0,null,false]`} {
		do(cmd, ext, "no", 1)
	}
	for _, ext := range []string{`{"fields":5}`, `{}`, `{"fields":["uid"],"where":"x"}`, `{"fields":["uid"],"where":[1]}`, `{"fields":["uid"],"where":{"what":["u"]}}`} {
		if got := question(t, c, Frame{Command: cmdSelect, Ext: []byte(ext)}); got != "a:0:{}" {
			t.Errorf("%s: %s", ext, got)
		}
	}
	if got := question(t, c, Frame{Command: cmdSelect, Ext: []byte(`{"fields":[[1],"uid","uid","what"],"where":{"groups":[["x"],"g","g"],"uid":["u"]}}`)}); got != `a:1:{i:1;a:1:{s:3:"uid";s:1:"u";}}` {
		t.Error(got)
	}
	if got := question(t, c, Frame{Command: cmdBatchClientsByUID, Ext: []byte(`{"0":"u","2":[1],"3":"x","4":"u"}`)}); got != `a:2:{s:1:"u";a:1:{i:0;i:1;}s:1:"x";a:0:{}}` {
		t.Error(got)
	}
	long := strings.Repeat("x", 129)
	for _, name := range []string{"", "0", long} {
		do(cmdBindUID, name, "", 1)
		do(cmdJoinGroup, name, "", 1)
	}
	if got, _ := b.Client(1, 0); got.UID != "u" || len(got.Groups) != 1 {
		t.Error(got)
	}
	// Names may have any bytes.
	do(cmdJoinGroup, "\x00\xff", "", 1)
	if got := question(t, c, Frame{Command: cmdGroups}); got != "a:2:{i:0;s:1:\"g\";i:1;s:2:\"\x00\xff\";}" {
		t.Errorf("%q", got)
	}
	for _, body := range []string{
		"", "\x81", "\x81\x85abcdefghi", "\x01\x01a", "\xc1\x01a", "\x89\x00", "\x88\x00", "\x80\x00", "\x83\x00", "\x81\x02a", "\x81\x01aa",
		"\x81\x01a\x81\x01a", "\x81\x7e\x00\x01a", "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xffa",
	} {
		do(cmdSendToOne, "", body, FlagBytes|flagFrame)
	}
	for _, body := range []string{"a:1:{", "N;", `O:1:"A":0:{}`, "a:1:{i:0;d:INF;}"} {
		do(cmdSendToOne, "", body, 0)
	}
	if got := b.received(); len(got) > 0 || refused == 0 {
		t.Error(got, refused)
	}
	do(cmdSendToOne, "", `a:2:{s:1:"a";s:3:"中";s:1:"b";a:1:{i:0;i:1;}}`, 0)
	do(cmdSendToAll, `{"exclude":[2]}`, "list", 1)
	do(cmdSendToUID, `["u","u",[1]]`, "twice", 1)
	if got := fmt.Sprint(b.received()); got != `map[c1:[{"a":"中","b":[1]} list twice twice]]` {
		t.Error(got)
	}
	for cmd := range 256 {
		if Command(cmd) == cmdWorkerConnect || Command(cmd) == cmdGatewayClientConnect || oneWay[Command(cmd)] != nil || questions[Command(cmd)] != nil {
			continue
		}
		if _, err := c.Do(Frame{Command: Command(cmd)}, nil); !errors.Is(err, ErrCommand) {
			t.Error(cmd, err)
		}
	}
}

func TestSessions(t *testing.T) {
	b := newFake(1)
	c := &Commands{Backend: b, SessionBytes: 200}
	do := func(cmd Command, ext string) {
		t.Helper()
		if _, err := c.Do(Frame{Command: cmd, Connection: 1, Flag: 1, Ext: []byte(ext)}, nil); err != nil {
			t.Error(err)
		}
	}
	is := func(want string) {
		t.Helper()
		if got := question(t, c, Frame{Command: cmdSessionByClient, Connection: 1}); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	is("a:0:{}")
	bad := []string{"", "i:5;", "N;", "a:1:{i:0;", "a:2000000000:{", "a:-1:{}", `a:1:{i:0;C:1:"A":0:{}}`, "a:2:{i:0;N;i:1;R:2;}", strings.Repeat("a:1:{i:0;", 65) + "N;" + strings.Repeat("}", 65),
		`a:1:{i:0;s:300:"` + strings.Repeat("x", 300) + `";}`}
	for _, ext := range bad {
		do(cmdUpdateSession, ext)
	}
	is("a:0:{}")
	do(cmdSetSession, `a:1:{i:0;O:1:"A":0:{}}`)
	for _, ext := range bad {
		do(cmdUpdateSession, ext)
	}
	do(cmdSetSession, strings.Repeat("x", 201))
	is(`a:1:{i:0;O:1:"A":0:{}}`)
	do(cmdUpdateSession, `a:1:{i:1;s:170:"`+strings.Repeat("x", 170)+`";}`) // merged, it is too long
	is(`a:1:{i:0;O:1:"A":0:{}}`)
	do(cmdUpdateSession, "a:1:{i:1;N;}")
	is(`a:2:{i:0;O:1:"A":0:{}i:1;N;}`)
	do(cmdSetSession, "not a session") // stored as it is, and nothing merges with it
	do(cmdUpdateSession, "a:0:{}")
	is("not a session")
	do(cmdSetSession, "")
	is("a:0:{}")
}

// Whatever a command holds, an answer is well-formed.
func FuzzCommands(f *testing.F) {
	for _, one := range lines[call](f, "commands.jsonl", 90) {
		for _, e := range one.Exchanges {
			frames, err := framesOf(bytes.NewReader(unhex(f, e.Request)))
			if err != io.EOF {
				f.Fatal(err)
			}
			f.Add(byte(frames[0].Command), frames[0].Flag, frames[0].Ext, frames[0].Body)
		}
	}
	f.Fuzz(func(t *testing.T, cmd, flag byte, ext, body []byte) {
		b := newFake(1, 2)
		b.Bind(1, "u")
		b.Join(1, "g")
		c := &Commands{Backend: b}
		answer, err := c.Do(Frame{Command: Command(cmd), Connection: 1, Flag: flag, Ext: ext, Body: body}, nil)
		if ask := questions[Command(cmd)] != nil; err == nil && ask != (len(answer) > 0) {
			t.Fatalf("%d: %q", cmd, answer)
		}
		if len(answer) > 0 && (len(answer) < 6 || int(answer[2])<<8+int(answer[3]) != len(answer)-4) {
			t.Fatalf("%d: %q", cmd, answer)
		}
	})
}
