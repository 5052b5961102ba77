package environ

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"

	"wsframe/framework/gateway"
	"wsframe/library/phpserialize"
)

// All recorded queries and cookies are read as PHP read them.
func TestRecorded(t *testing.T) {
	b, err := os.ReadFile("testdata/query.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Query []struct {
			Query string
			Get   []byte
		}
		Cookie []struct {
			Header string
			Cookie []byte
		}
	}
	if err := json.Unmarshal(b, &recorded); err != nil || len(recorded.Query) < 37 || len(recorded.Cookie) < 12 {
		t.Fatal(err, len(recorded.Query), len(recorded.Cookie))
	}
	for _, one := range recorded.Query {
		if got := appendQuery(nil, one.Query); !bytes.Equal(got, one.Get) {
			t.Errorf("%q: %s, want %s", one.Query, got, one.Get)
		}
	}
	for _, one := range recorded.Cookie {
		if got := appendQuery(nil, strings.ReplaceAll(one.Header, "; ", "&")); !bytes.Equal(got, one.Cookie) {
			t.Errorf("%q: %s, want %s", one.Header, got, one.Cookie)
		}
	}
}

// The bounds are PHP's: variables beyond the 1,000th are not read, and one that is nested too
// deeply is removed.
func TestBounds(t *testing.T) {
	if got := string(appendQuery(nil, strings.Repeat("a[]=&", 1001))); !strings.HasPrefix(got, `a:1:{s:1:"a";a:1000:{`) {
		t.Errorf("%.60s", got)
	}
	for query, want := range map[string]string{
		"a=1&b=2&a" + strings.Repeat("[]", 64) + "=1&c" + strings.Repeat("[]", 65) + "=1": `a:2:{s:1:"a";` + strings.Repeat(`a:1:{i:0;`, 64) + `s:1:"1";` + strings.Repeat("}", 64) + `s:1:"b";s:1:"2";}`,
		"a=1&a" + strings.Repeat("[]", 65) + "=1":                                         `a:0:{}`,
		"a[9223372036854775807]=1&a[]=2":                                                  `a:1:{s:1:"a";a:1:{i:9223372036854775807;s:1:"1";}}`,
		"a[x]=1&a[y][b=2":                                                                 `a:1:{s:1:"a";a:2:{s:1:"x";s:1:"1";s:1:"y";s:1:"2";}}`,
		"__Host-a=1&_.Host-a=2&.%5fSecure-b=3":                                            `a:1:{s:8:"__Host-a";s:1:"1";}`,
		"a[__Host-b][c]=1&b[-3]&b[]":                                                      `a:2:{s:1:"a";a:0:{}s:1:"b";a:2:{i:-3;s:0:"";i:-2;s:0:"";}}`,
		"a\x00&b":                                                                         `a:1:{s:1:"a";s:0:"";}`,
	} {
		if got := string(appendQuery(nil, query)); got != want {
			t.Errorf("%.60q: %s, want %s", query, got, want)
		}
	}
}

func TestServer(t *testing.T) {
	for _, one := range []struct {
		o    gateway.Opening
		want string
	}{
		{gateway.Opening{URI: "/?a#b?c", Header: []gateway.HeaderField{{Name: "X-a", Value: "\t1 "}, {Name: "Host", Value: "h"}, {Name: "x-A", Value: "2"}}},
			`s:15:"SERVER_PROTOCOL";s:0:"";s:8:"HTTP_X_A";s:1:"2";s:9:"HTTP_HOST";s:1:"h";s:11:"SERVER_NAME";s:1:"h";s:12:"QUERY_STRING";s:1:"a";`},
		{gateway.Opening{Header: []gateway.HeaderField{{Name: "Host", Value: "[::1]:80"}}}, `s:11:"SERVER_NAME";s:5:"[::1]";s:11:"SERVER_PORT";s:2:"80";`},
		{gateway.Opening{Header: []gateway.HeaderField{{Name: "Host", Value: "[::1]"}}}, `s:11:"SERVER_NAME";s:5:"[::1]";s:12:"QUERY_STRING";s:0:"";`},
		{gateway.Opening{Remote: netip.MustParseAddrPort("[::ffff:10.0.0.1]:99")}, `s:11:"REMOTE_ADDR";s:8:"10.0.0.1";s:11:"REMOTE_PORT";i:99;}`},
	} {
		if got := string(Append(nil, one.o)); !strings.Contains(got, one.want) {
			t.Errorf("%s, want %s", got, one.want)
		}
	}
}

// Whatever a client sends, the body can be read again.
func FuzzAppend(f *testing.F) {
	f.Add("/?a[]=1&b[x][y]=2&c[=%zz", "a=1; b[]=2", "X-A", "1")
	f.Fuzz(func(t *testing.T, uri, cookie, name, text string) {
		body := Append(nil, gateway.Opening{URI: uri, Header: []gateway.HeaderField{{Name: "Cookie", Value: cookie}, {Name: name, Value: text}}})
		v, err := phpserialize.Parse(body)
		if err != nil {
			// Arrays of 64 levels stand in two more.
			if !strings.Contains(uri+cookie+text, strings.Repeat("[", 60)) && strings.Count(uri+cookie+text, "[")+strings.Count(uri+cookie+text, "%5") < 60 {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if again := v.Append(nil); !bytes.Equal(again, body) {
			t.Fatalf("%q, again %q", body, again)
		}
	})
}
