package framework_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// What an action takes may be put together of structs: embedded ones, by pointer, in lists and maps.
type (
	trustedPart struct {
		FD   int64              `json:"fd"`
		Auth framework.Identity `json:"auth"`
	}
	CodePart struct {
		Code string `json:"code"`
	}
	place struct {
		Room string        `json:"room" validate:"max=3"`
		At   framework.Int `json:"at"`
	}
	placed struct {
		*CodePart
		trustedPart
		place
		Plain int              `validate:"max=9"`
		List  []place          `json:"list" validate:"dive"`
		Map   map[string]place `json:"map" validate:"dive"`
		Time  *time.Time       `json:"time"`
		Inner *place           `json:"inner"`
	}
	// own decodes itself.
	own struct{ fd int64 }
)

func (o *own) UnmarshalJSON(b []byte) error {
	var fields struct{ FD int64 }
	err := json.Unmarshal(b, &fields)
	o.fd = fields.FD
	return err
}

type shapes struct{}

func (shapes) Placed(_ *framework.Ctx, in *placed) (*framework.Reply, error) {
	return framework.OK("placed", in.Code, []any{in.FD, in.Auth.ID, in.Room}), nil
}
func (shapes) Own(_ *framework.Ctx, in *own) (*framework.Reply, error) {
	return framework.OK("own", "", in.fd), nil
}
func (shapes) Data(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("data", "", c.Data()), nil
}

func shaped(t *testing.T, o ...frameworktest.Option) *frameworktest.Client {
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("shapes", &shapes{})}, nil
	}, o...)
	return h.Dial(someone)
}

func answers(t *testing.T, c *frameworktest.Client, cases [][2]string) {
	t.Helper()
	for _, tc := range cases {
		c.Send(tc[0])
		if got := number.ReplaceAllString(c.Receive(), "1"); !strings.Contains(got, tc[1]) {
			t.Errorf("%s: got %s, want %s", tc[0], got, tc[1])
		}
	}
}

// The trusted values are given wherever fd, auth and code are decoded from, and never the client's.
func TestTrustedFields(t *testing.T) {
	c := shaped(t)
	c.Send(`{"method":"shapes.own","FD":99}`)
	var own struct{ Param json.Number }
	if err := json.Unmarshal([]byte(c.Receive()), &own); err != nil || own.Param == "99" || own.Param == "0" {
		t.Fatal(own.Param, err)
	}
	answers(t, c, [][2]string{
		{`{"method":"shapes.placed","fd":99,"auth":{"id":"evil"},"code":"evil","room":"a"}`, `"info":"A1","param":[1,"7","a"]}`},
	})
}

// A field is named by its path in the client's JSON: no name of Go's is in it.
func TestFieldNames(t *testing.T) {
	const method = `{"method":"shapes.placed",`
	answers(t, shaped(t), [][2]string{
		{method + `"room":"four"}`, `"param":[{"field":"room","rule":"max=3"}]`},
		{method + `"room":[]}`, `"param":[{"field":"room","rule":"type string"}]`},
		{method + `"at":"x"}`, `"param":[{"field":"at","rule":"type int64"}]`},
		{method + `"Plain":10}`, `"param":[{"field":"Plain","rule":"max=9"}]`},
		{method + `"list":[{"room":"a"},{"room":"four"}]}`, `"param":[{"field":"list[1].room","rule":"max=3"}]`},
		{method + `"list":[{"at":{}}]}`, `"param":[{"field":"list.at","rule":"type int64"}]`},
		{method + `"list":[7]}`, `"param":[{"field":"list","rule":"type object"}]`},
		{method + `"list":{}}`, `"param":[{"field":"list","rule":"type list"}]`},
		{method + `"map":{"a.b":{"room":"four"}}}`, `"param":[{"field":"map[a.b].room","rule":"max=3"}]`},
		{method + `"inner":{"room":"four"}}`, `"param":[{"field":"inner.room","rule":"max=3"}]`},
		{method + `"inner":{"room":7}}`, `"param":[{"field":"inner.room","rule":"type string"}]`},
		{method + `"time":"yesterday"}`, `"param":[{"field":"time","rule":"type"}]`},
		{`{"method":"sys.recover","room":7}`, `"param":[{"field":"room","rule":"type string"}]`},
		{`{"method":"sys.recover","rooms":[{"room":7}]}`, `"param":[{"field":"rooms.room","rule":"type string"}]`},
	})
}

// What a client sends is I-JSON (RFC 7493) before an action gets it: every reader of what is passed on understands it alike.
func TestInteroperable(t *testing.T) {
	answers(t, shaped(t), [][2]string{
		{`{"method":"shapes.data","id":"\ud83d","x":{"\udead":["\ud83d\ude00\ud83d"],"k":1,"k":2}}`,
			`"param":{"method":"shapes.data","id":"\ufffd","x":{"\ufffd":["\ud83d\ude00\ufffd"],"k":2}},"id":"\ufffd"}`},
		{`{"method":"shapes.data","id":5,"x":{"n":[1,1e400]}}`, `{"status":400,"event":"paramError","info":"参数错误","param":[{"field":"x.n[1]","rule":"number"}],"id":5}`},
		{`{"method":"nothing.at.all","id":1e400}`, `"param":[{"field":"id","rule":"number"}]}`},
		{`{"method":"shapes.data","x":1e300}`, `"x":1e300}`},
	})
}
