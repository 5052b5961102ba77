package boot

import (
	"path/filepath"

	"wsframe/framework/auth"
	"wsframe/library/config"
)

// RuntimeKey returns the file with the key of tokens, for configurations without one.
func RuntimeKey(cfg *config.Config) string { return filepath.Join(cfg.App.Runtime.Dir, "auth.key") }

// ConfiguredKey returns the configured key for w1 tokens, or "". A configured key may be one for
// 3DES only.
func ConfiguredKey(cfg *config.Config) (key string, old bool) {
	a := &cfg.App.Auth
	if a.Accept3DES && a.Key == a.Key3DES && !auth.Fits(a.Key) {
		return "", a.Key != ""
	}
	return a.Key, false
}

// OpenTokens uses the keys of the configuration, or one that load reads from the file at path. used
// is the absolute path, or "" where the key is configured.
func OpenTokens(cfg *config.Config, path string, load func(path string) (string, bool, error)) (t *auth.Tokens, used string, notes []string, err error) {
	a := &cfg.App.Auth
	key, old := ConfiguredKey(cfg)
	if old {
		notes = append(notes, "auth.key is published or short: it is for 3DES tokens only")
	}
	if key == "" {
		var created bool
		if key, created, err = load(path); err == nil {
			used, err = filepath.Abs(path)
		}
		if err != nil {
			return nil, "", nil, err
		}
		why := "auth.key is not configured"
		if len(notes) > 0 {
			why = "w1 tokens have another key"
		}
		if created {
			notes = append(notes, why+": a random key was made in "+path)
		} else {
			notes = append(notes, why+": the key in "+path+" is used")
		}
	}
	t, err = auth.New(auth.Config{
		Keys: []string{key, a.PreviousKey}, Accept3DES: a.Accept3DES, TripleDESKey: a.Key3DES, Types3DES: a.Types3DES, Lifetime: a.Lifetime, Skew: a.Skew,
	})
	return t, used, notes, err
}
