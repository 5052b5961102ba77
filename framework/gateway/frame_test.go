package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"runtime"
	"testing"
	"testing/iotest"
)

func TestClientID(t *testing.T) {
	id := ClientID{netip.MustParseAddrPort("127.0.0.1:12900"), 0xfffffffe}
	if got := id.String(); got != "7f0000013264fffffffe" {
		t.Error(got)
	}
	if got, ok := ParseClientID("7F0000013264fffffffe"); !ok || got != id {
		t.Error(got, ok)
	}
	for _, text := range []string{"", "abc", "7f0000013264ffffffff0", "7f0000013264fffffffg"} {
		if got, ok := ParseClientID(text); ok {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// framesOf reads all frames that arrive by a reader.
func framesOf(r io.Reader) (list []Frame, err error) {
	frames := frameReader{r: r}
	for {
		f, err := frames.next()
		if err != nil {
			return list, err
		}
		list = append(list, f)
	}
}

func TestFramesInPieces(t *testing.T) {
	want := []Frame{
		{Command: cmdSendToOne, Connection: 7, Flag: FlagBytes, Body: []byte("hello")},
		{Command: cmdIsOnline, Connection: 0xfffffffe, Flag: FlagBytes},
		{Command: cmdSendToAll, LocalIP: 1, LocalPort: 2, ClientIP: 3, ClientPort: 4, GatewayPort: 5,
			Ext: []byte("{}"), Body: bytes.Repeat([]byte("x"), 200_000)},
		{Command: cmdSendToOne, Body: []byte("after a large one")},
	}
	var stream []byte
	for _, f := range want {
		stream = AppendFrame(stream, f)
	}
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(stream), "bytes": iotest.OneByteReader(bytes.NewReader(stream)),
		"halves": iotest.HalfReader(bytes.NewReader(stream)), "end": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		got, err := framesOf(r)
		if err != io.EOF || len(got) != len(want) {
			t.Fatalf("%s: %d frames, %v", name, len(got), err)
		}
		for i, f := range got {
			if !bytes.Equal(AppendFrame(nil, f), AppendFrame(nil, want[i])) {
				t.Errorf("%s: frame %d differs", name, i)
			}
		}
	}
	if _, err := framesOf(bytes.NewReader(stream[:len(stream)-1])); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
}

func TestImpossibleLengths(t *testing.T) {
	header := func(pack, ext uint32) []byte {
		b := AppendFrame(nil, Frame{Command: cmdIsOnline})
		b[0], b[1], b[2], b[3] = byte(pack>>24), byte(pack>>16), byte(pack>>8), byte(pack)
		b[24], b[25], b[26], b[27] = byte(ext>>24), byte(ext>>16), byte(ext>>8), byte(ext)
		return b
	}
	for _, b := range [][]byte{
		header(27, 0), header(0, 0), header(10<<20+1, 0), header(0xffffffff, 0), header(28, 1), header(40, 13), header(10<<20, 0xffffffff),
	} {
		if _, err := framesOf(bytes.NewReader(b)); !errors.Is(err, ErrFrame) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, err := framesOf(bytes.NewReader(header(10<<20, 0))); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
}

// A claimed length costs no memory.
func TestClaimedLength(t *testing.T) {
	b := AppendFrame(nil, Frame{Command: cmdIsOnline})
	b[1] = 0xa0 // 10 MiB and 28 bytes
	b[3] = 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := framesOf(bytes.NewReader(b)); err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 10<<20 {
		t.Errorf("100 claims of 10 MiB cost %d bytes", n)
	}
}

// Whatever arrives in whatever pieces, the frames written again are the bytes that were read.
func FuzzFrames(f *testing.F) {
	f.Add(AppendFrame(AppendFrame(nil, Frame{Command: 5, Body: []byte("x")}), Frame{Command: 22, Ext: []byte(`{}`)}))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, err := framesOf(bytes.NewReader(stream))
		pieces, other := framesOf(iotest.OneByteReader(bytes.NewReader(stream)))
		if len(whole) != len(pieces) || err != other {
			t.Fatal(len(whole), err, len(pieces), other)
		}
		var again []byte
		for _, one := range whole {
			again = AppendFrame(again, one)
		}
		if !bytes.HasPrefix(stream, again) {
			t.Fatalf("%x is written as %x", stream, again)
		}
	})
}
