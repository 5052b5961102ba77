package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/viper"
)

// Load reads app.yaml, cache.yaml and db.yaml in dir. The files override the defaults, and the
// environment overrides the files. A missing file, or an empty dir, means the defaults. An unknown
// key or variable, or a wrong value, is an error that names it.
func Load(dir string, env []string) (*Config, error) {
	c := defaults()
	l := &loader{dir: dir, env: environment(env), from: map[string]string{}}
	for _, p := range c.parts() {
		if err := l.read(p.name, p.v); err != nil {
			return nil, err
		}
	}
	c.files, c.foreign = l.files, l.dropServiceLinks()
	if len(l.env) > 0 {
		return nil, fmt.Errorf("environment: %s: no such setting", strings.Join(slices.Sorted(maps.Keys(l.env)), ", "))
	}
	c.complete(func(key string) bool { return l.from["app "+key] != "" })
	if err := c.validate(l.where); err != nil {
		return nil, err
	}
	return c, nil
}

// Salvage reads what it can of a configuration that Load refuses, and uses the defaults for the
// rest. That is enough to reach a server that was started with an earlier configuration. Nothing is
// validated.
func Salvage(dir string, env []string) *Config {
	c := defaults()
	l := &loader{dir: dir, env: environment(env), from: map[string]string{}, lenient: true}
	for _, p := range c.parts() {
		_ = l.read(p.name, p.v) // wrong values keep their defaults
	}
	return c
}

type part struct {
	name string // the file without .yaml
	v    any
}

func (c *Config) parts() []part { return []part{{"app", &c.App}, {"cache", &c.Cache}, {"db", &c.DB}} }

// loader records where each setting came from, so that an error can say what to edit.
type loader struct {
	dir  string
	env  map[string]string // variables that no setting has used yet
	from map[string]string // "app outside.port" → the variable that set it

	files []string // names of the files that set something

	lenient bool // ignores what cannot be read
}

// environment selects the variables that set something of ours.
func environment(env []string) map[string]string {
	set := map[string]string{}
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		for _, p := range []string{"WSFRAME_APP_", "WSFRAME_CACHE_", "WSFRAME_DB_"} {
			if strings.HasPrefix(name, p) {
				set[name] = value
			}
		}
	}
	return set
}

// EnvName returns the variable that sets a key of a file: WSFRAME_APP_OUTSIDE_PORT for outside.port
// of app.
func EnvName(file, key string) string {
	return "WSFRAME_" + strings.ToUpper(file+"_"+strings.ReplaceAll(key, ".", "_"))
}

// where names a setting for its owner: "config/app.yaml: outside.port", with the variable if one
// has set it.
func (l *loader) where(file, key string) string {
	s := filepath.Join(l.dir, file+".yaml") + ": " + key
	if name := l.from[file+" "+key]; name != "" {
		s += " (" + name + ")"
	}
	return s
}

func (l *loader) read(name string, into any) error {
	v := viper.New()
	if l.dir != "" {
		file := filepath.Join(l.dir, name+".yaml")
		v.SetConfigFile(file)
		switch err := v.ReadInConfig(); {
		case errors.Is(err, fs.ErrNotExist):
			if other := filepath.Join(l.dir, name+".yml"); exists(other) {
				return fmt.Errorf("%s is not read: its name must be %s", other, file)
			}
		case err != nil && !l.lenient:
			return fmt.Errorf("%s: %s", file, strings.Join(strings.Fields(err.Error()), " "))
		}
	}
	if len(v.AllKeys()) > 0 {
		l.files = append(l.files, name)
	}
	known := Keys(into)
	for _, key := range slices.Sorted(slices.Values(v.AllKeys())) {
		switch {
		case slices.Contains(known, key):
		case slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, key+".") }):
			if v.Get(key) != nil && !l.lenient { // an empty section means the defaults
				return fmt.Errorf("%s: is a section with keys of its own", l.where(name, key))
			}
		case l.lenient:
		default:
			return fmt.Errorf("%s: unknown key %s", filepath.Join(l.dir, name+".yaml"), key)
		}
	}
	var err error
	walk(reflect.ValueOf(into).Elem(), "", func(key string, field reflect.Value, _ bool) {
		value := v.Get(key)
		if text, ok := l.env[EnvName(name, key)]; ok && !serviceLink(EnvName(name, key), text) {
			value = variable(text)
			l.from[name+" "+key] = EnvName(name, key)
			delete(l.env, EnvName(name, key))
		}
		if value == nil || err != nil { // "key:" without a value means the default
			return
		}
		if e := assign(field, value); e != nil && !l.lenient {
			err = fmt.Errorf("%s: %w", l.where(name, key), e)
		}
	})
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Keys returns the paths of all settings in a struct of this package, as its file has them:
// limits.json_depth.
func Keys(v any) []string {
	var keys []string
	walk(reflect.ValueOf(v).Elem(), "", func(path string, _ reflect.Value, _ bool) { keys = append(keys, path) })
	return keys
}

// walk visits every setting with its path and whether it is a secret.
func walk(v reflect.Value, prefix string, visit func(path string, v reflect.Value, secret bool)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("mapstructure")
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		if f.Type.Kind() == reflect.Struct {
			walk(v.Field(i), prefix+name+".", visit)
			continue
		}
		visit(prefix+name, v.Field(i), f.Tag.Get("secret") != "")
	}
}

// String returns a line for each setting. Secrets are hidden.
func (c *Config) String() string {
	var b strings.Builder
	for _, p := range c.parts() {
		walk(reflect.ValueOf(p.v).Elem(), p.name+".", func(path string, v reflect.Value, secret bool) {
			shown := fmt.Sprint(v.Interface())
			if secret && v.Len() > 0 { // a text or a list
				shown = "(hidden)"
			}
			fmt.Fprintf(&b, "%s: %s\n", path, shown)
		})
	}
	return b.String()
}
