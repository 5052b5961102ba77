package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"wsframe/framework/auth"
	"wsframe/framework/internal/boot"
	"wsframe/framework/manager"
	"wsframe/library/config"
)

// tokenIssuer issues tokens with the server's key: that of the configuration, else the one that the
// running server names. It makes no key.
type tokenIssuer struct {
	settings *settings
	remote   *remote
	out      *output
	legacy   bool // by the original's form
}

// issue prints a token that is issued now.
func (i *tokenIssuer) issue(ctx context.Context, id auth.Identity) error {
	cfg, err := i.settings.load()
	if err != nil {
		return err
	}
	if id.ID == "" {
		return errors.New("whose token? console -s token -type T -id ID -code C -nickname N")
	}
	id.CTime = time.Now().Unix()
	if err := id.Validate(); err != nil { // a key is not looked for in vain
		return fmt.Errorf("issue token: %w", err)
	}
	if i.legacy && cfg.App.Auth.Key3DES == "" {
		return errors.New("issue token: auth.key_3des is empty")
	}
	path, err := i.keyFile(ctx, cfg)
	if err != nil {
		return fmt.Errorf("issue token: %w", err)
	}
	load := auth.LoadKey
	if i.legacy { // only the other key is needed
		load = func(string) (string, bool, error) { return rand.Text() + rand.Text(), false, nil }
	}
	tokens, _, notes, err := boot.OpenTokens(cfg, path, load)
	if err != nil {
		return err
	}
	if i.legacy {
		notes = nil
	}
	for _, n := range notes {
		fmt.Fprintln(i.out.err, "note:", n)
	}
	issue := tokens.Issue
	if i.legacy {
		issue = tokens.Issue3DES
	}
	token, err := issue(id)
	if err != nil {
		return err
	}
	fmt.Fprintln(i.out.out, token)
	return nil
}

// keyFile returns the path of the key that the server uses, where none is configured.
func (i *tokenIssuer) keyFile(ctx context.Context, cfg *config.Config) (string, error) {
	if key, _ := boot.ConfiguredKey(cfg); key != "" || i.legacy {
		return boot.RuntimeKey(cfg), nil
	}
	s, err := i.status(ctx, cfg)
	if err != nil { // no server runs: the key is that of the last one that ran here
		if _, missing := os.Stat(boot.RuntimeKey(cfg)); missing != nil {
			return "", fmt.Errorf("auth.key is not configured here, %s does not exist, and %w", boot.RuntimeKey(cfg), err)
		}
		return boot.RuntimeKey(cfg), nil
	}
	if s.KeyFile == "" {
		return "", fmt.Errorf("the running server (runtime directory %s) has auth.key in its configuration, and this one has none: name that by -c, or set WSFRAME_APP_AUTH_KEY",
			s.RuntimeDir)
	}
	return s.KeyFile, nil
}

// status asks the running server for its state.
func (i *tokenIssuer) status(ctx context.Context, cfg *config.Config) (s manager.Status, err error) {
	err = i.remote.askBy(ctx, cfg, askTime, func(ctx context.Context, m *manager.Client) error {
		s, err = m.Status(ctx)
		return err
	})
	return s, err
}
