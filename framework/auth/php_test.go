//go:build e2e

package auth

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// php runs both functions of docs/php/token.php. It returns their tokens, or the message of the
// exception.
func php(t *testing.T, key, legacyKey string, identity any) (gcm, des string) {
	t.Helper()
	b, err := json.Marshal(identity)
	if err != nil {
		t.Fatal(err)
	}
	const script = `error_reporting(E_ALL); ini_set('display_errors', 'stderr'); require $argv[1]; $id = json_decode($argv[4], true);
foreach ([['wsframe_token', $argv[2]], ['wsframe_token_3des', $argv[3]]] as [$f, $key]) {
    try { echo $f($key, $id), "\n"; } catch (Exception $e) { echo 'refused: ', $e->getMessage(), "\n"; }
}`
	out, err := exec.Command("php", "-r", script, "--", "../../docs/php/token.php", key, legacyKey, string(b)).CombinedOutput()
	if err != nil {
		t.Fatalf("php with the openssl extension is needed: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 2 {
		t.Fatalf("%s", out)
	}
	return lines[0], lines[1]
}

// Tokens from docs/php/token.php are accepted in both forms.
func TestPHPTokens(t *testing.T) {
	const key = "ein Schlüssel, long enough"
	for _, legacyKey := range []string{"marico-websocket", "k", strings.Repeat("k", 24)} {
		tokens, err := New(Config{Keys: []string{key}, Accept3DES: true, Types3DES: []string{"*"}, TripleDESKey: legacyKey, Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		for name, row := range map[string]struct {
			in   map[string]any
			want Identity
		}{
			"usual":     {map[string]any{"id": "7", "type": "wechatUser", "code": "A1", "nickname": "小明😀"}, Identity{ID: "7", Type: "wechatUser", Code: "A1", Nickname: "小明😀"}},
			"numbers":   {map[string]any{"id": 9007199254740993, "type": "wall", "code": 1001}, Identity{ID: "9007199254740993", Type: "wall", Code: "1001"}},
			"specials":  {map[string]any{"id": "oX9-_a.b:c@d", "type": "guest", "nickname": "a/b\\c\"d<e>\n\u2028"}, Identity{ID: "oX9-_a.b:c@d", Type: "guest", Nickname: "a/b\\c\"d<e>\n\u2028"}},
			"longest":   {map[string]any{"id": strings.Repeat("i", 64), "type": strings.Repeat("t", 32), "code": strings.Repeat("c", 64), "nickname": strings.Repeat("明", 128)}, Identity{ID: strings.Repeat("i", 64), Type: strings.Repeat("t", 32), Code: strings.Repeat("c", 64), Nickname: strings.Repeat("明", 128)}},
			"one block": {map[string]any{"id": "1", "type": "a"}, Identity{ID: "1", Type: "a"}},
		} {
			gcm, des := php(t, key, legacyKey, row.in)
			for _, token := range []string{gcm, des} {
				got, err := tokens.Verify(token)
				if age := time.Now().Unix() - got.CTime; err == nil && (age < 0 || age > 60) {
					t.Errorf("%s: ctime %d", name, got.CTime)
				}
				if got.CTime = 0; err != nil || got != row.want {
					t.Errorf("%s: %s gives %+v, %v", name, token, got, err)
				}
			}
		}
		// The function uses the caller's ctime: these tokens have expired.
		gcm, des := php(t, key, legacyKey, map[string]any{"id": "7", "type": "wall", "ctime": time.Now().Add(-2 * time.Hour).Unix()})
		for _, token := range []string{gcm, des} {
			if _, err := tokens.Verify(token); err == nil || !strings.Contains(err.Error(), "expired") {
				t.Errorf("%s: %v", token, err)
			}
		}
	}
}

// PHP refuses what the server would refuse.
func TestPHPRefuses(t *testing.T) {
	for name, identity := range map[string]map[string]any{
		"no id":         {"type": "wall"},
		"no type":       {"id": "1"},
		"line end":      {"id": "1\n", "type": "wall"},
		"bad code":      {"id": "1", "type": "wall", "code": "a b"},
		"long code":     {"id": "1", "type": "wall", "code": strings.Repeat("c", 65)},
		"long nickname": {"id": "1", "type": "wall", "nickname": strings.Repeat("明", 129)},
		"sixth field":   {"id": "1", "type": "wall", "role": "admin"},
	} {
		if gcm, des := php(t, "0123456789abcdef", "k", identity); !strings.HasPrefix(gcm, "refused: ") || !strings.HasPrefix(des, "refused: ") {
			t.Errorf("%s: %s %s", name, gcm, des)
		}
	}
	if gcm, des := php(t, "short", strings.Repeat("k", 25), map[string]any{"id": "1", "type": "wall"}); !strings.HasPrefix(gcm, "refused: auth.key:") || !strings.HasPrefix(des, "refused: auth.key_3des:") {
		t.Errorf("bad keys: %s %s", gcm, des)
	}
}
