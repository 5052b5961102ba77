//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// npmPackages installs packages of npm into a new folder, and returns it.
func npmPackages(t *testing.T, packages ...string) string {
	t.Helper()
	dir := t.TempDir()
	args := append([]string{"install", "--no-audit", "--no-fund", "--prefix", dir}, packages...)
	if out, err := exec.Command("npm", args...).CombinedOutput(); err != nil {
		t.Fatalf("npm (Debian: apt-get install nodejs npm): %v\n%s", err, out)
	}
	return dir
}

// typescript is the version with which declarations are compiled.
const typescript = "typescript@5.9.3"

// compileTypeScript compiles a client against a contract and the types of the client library. dir
// has TypeScript.
func compileTypeScript(t *testing.T, dir, contract, client string) (output string, err error) {
	t.Helper()
	library, err := os.ReadFile(filepath.Join(root, "internal", "npm", "wsframe.d.ts"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"wsframe.d.ts": string(library), "contract.ts": contract, "client.ts": client, "tsconfig.json": tsconfig} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("node", filepath.Join(dir, "node_modules", "typescript", "bin", "tsc"), "--project", ".")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

const tsconfig = `{"files": ["client.ts"], "compilerOptions": {"strict": true, "noEmit": true, "skipLibCheck": false,
	"target": "es2022", "module": "es2022", "moduleResolution": "bundler", "lib": ["es2022", "dom"], "types": []}}`

// TestTypesCompile compiles a client of the sample application against what `console types` prints,
// and again after fields of that were renamed: then it must not compile.
func TestTypesCompile(t *testing.T) {
	dir := npmPackages(t, typescript, "@asyncapi/parser@3.6.6")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path ...string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(path...))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	print := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(console, args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	contract := print("types")
	client := read("testdata", "types", "client.ts")
	if out, err := compileTypeScript(t, dir, contract, client); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, change := range []struct{ from, to, want string }{
		{"  nickname: string;", "  nick: string;", "'nickname'"},
		{"  time: number;", "  time: { at: number };", "No overload"},
		{"text: string; // max=500", "words: string; // max=500", "'text'"},
		{`"chat.room.say":`, `"chat.room.speak":`, "chat.room.say"},
		{`"roomSay":`, `"roomSaid":`, "implicitly has an 'any' type"},
		{`"roomNotFound":`, `"noSuchRoom":`, "roomNotFound"},
	} {
		if out, err := compileTypeScript(t, dir, strings.ReplaceAll(contract, change.from, change.to), client); err == nil || !strings.Contains(out, change.want) {
			t.Errorf("%q renamed to %q: %v\n%s", change.from, change.to, err, out)
		}
	}
	write("asyncapi.json", print("types", "-asyncapi"))
	write("check.cjs", `const { Parser } = require('@asyncapi/parser');
new Parser().parse(require('fs').readFileSync('asyncapi.json', 'utf8')).then(({ document, diagnostics }) => {
  const errors = diagnostics.filter((d) => d.severity === 0);
  if (errors.length || !document) { console.log(JSON.stringify(errors.slice(0, 5), null, 1)); process.exit(1); }
  console.log(document.operations().all().length);
});`)
	cmd := exec.Command("node", "check.cjs")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) == "0" {
		t.Errorf("the AsyncAPI document: %v\n%s", err, out)
	}
}
