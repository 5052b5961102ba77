package app_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"wsframe/app"
	"wsframe/framework/console"
)

var updateTypes = flag.Bool("update-types", false, "write the declaration of the types anew")

// The declaration in testdata is what `console types` prints. A difference may break clients:
// `console reload -check` names what. Where it is meant, go test ./app -update-types writes the file anew.
func TestContract(t *testing.T) {
	const file = "testdata/contract.ts"
	var out, errs bytes.Buffer
	if code := console.Run(t.Context(), console.Program{Controllers: app.Controllers}, []string{"types"}, nil, &out, &errs); code != 0 {
		t.Fatal(code, errs.String())
	}
	if *updateTypes {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || out.String() != string(want) {
		t.Errorf("%s is not what the application offers; go test ./app -update-types writes it anew: %v\n%s", file, err, out.String())
	}
}
