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

// token issues one with the server's key: that of the config, else the one that the running server says it uses. It makes none.
func (c *console) token(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if c.id == "" {
		return errors.New("whose token? console -s token -type T -id ID -code C -nickname N")
	}
	// What cannot be issued must not make a key.
	id := auth.Identity{ID: c.id, Type: c.userType, Code: c.code, Nickname: c.nickname, CTime: time.Now().Unix()}
	if err := id.Validate(); err != nil {
		return fmt.Errorf("issue token: %w", err)
	}
	if c.legacy && cfg.App.Auth.Key3DES == "" {
		return errors.New("issue token: auth.key_3des is empty")
	}
	path, err := c.keyFile(ctx, cfg)
	if err != nil {
		return fmt.Errorf("issue token: %w", err)
	}
	load := auth.LoadKey
	if c.legacy { // it needs the other key only
		load = func(string) (string, bool, error) { return rand.Text() + rand.Text(), false, nil }
	}
	tokens, _, notes, err := boot.OpenTokens(cfg, path, load)
	if err != nil {
		return err
	}
	if c.legacy {
		notes = nil
	}
	for _, n := range notes {
		fmt.Fprintln(c.err, "note:", n)
	}
	issue := tokens.Issue
	if c.legacy {
		issue = tokens.Issue3DES
	}
	token, err := issue(id)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, token)
	return nil
}

// keyFile is where the key lies that the server takes, where none is configured here.
func (c *console) keyFile(ctx context.Context, cfg *config.Config) (string, error) {
	if key, _ := boot.ConfiguredKey(cfg); key != "" || c.legacy {
		return boot.RuntimeKey(cfg), nil
	}
	s, err := c.running(ctx, cfg)
	if err != nil { // no server answers: the key of the one that ran here last
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

// running asks the server that answers what it is.
func (c *console) running(ctx context.Context, cfg *config.Config) (s manager.Status, err error) {
	err = c.askWith(ctx, cfg, askTime, func(ctx context.Context, m *manager.Client) error {
		s, err = m.Status(ctx)
		return err
	})
	return s, err
}
