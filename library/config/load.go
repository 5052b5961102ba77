package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// Load reads app.yaml, cache.yaml and db.yaml in dir over the defaults, and the environment over both. A missing file, or
// an empty dir, means the defaults. Unknown keys are refused by name, in the files and in the environment.
func Load(dir string, env []string) (*Config, error) {
	c := defaults()
	set := environment(env)
	parts := []struct {
		name string
		into any
	}{{"app", &c.App}, {"cache", &c.Cache}, {"db", &c.DB}}
	for _, p := range parts {
		if err := read(dir, p.name, p.into, set); err != nil {
			return nil, err
		}
	}
	for name := range set {
		return nil, fmt.Errorf("environment: %s is no known setting", name)
	}
	c.complete()
	return c, c.validate()
}

// environment picks the settings out of it; the others' variables are not ours.
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

func read(dir, name string, into any, set map[string]string) error {
	v := viper.New()
	file := filepath.Join(dir, name+".yaml")
	if dir != "" {
		v.SetConfigFile(file)
		if err := v.ReadInConfig(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	for _, key := range Keys(into) {
		env := "WSFRAME_" + strings.ToUpper(name+"_"+strings.ReplaceAll(key, ".", "_"))
		if value, ok := set[env]; ok {
			v.Set(key, value)
			delete(set, env)
		}
	}
	var meta mapstructure.Metadata
	err := v.Unmarshal(into, func(d *mapstructure.DecoderConfig) {
		d.Metadata = &meta
		d.WeaklyTypedInput = true // the environment holds texts only
		d.ZeroFields = true       // a list in the file replaces the default list
		d.DecodeHook = mapstructure.ComposeDecodeHookFunc(durations, mapstructure.StringToSliceHookFunc(","))
	})
	if err != nil {
		return fmt.Errorf("%s: %w", file, plain(err))
	}
	if len(meta.Unused) > 0 {
		slices.Sort(meta.Unused)
		return fmt.Errorf("%s: unknown key %s", file, strings.ToLower(strings.Join(meta.Unused, ", ")))
	}
	return nil
}

// durations takes 25s and refuses a bare number: nobody knows whether 25 was meant in seconds.
func durations(_, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return value, nil
	}
	text, ok := value.(string)
	if !ok {
		if d, ok := value.(time.Duration); ok {
			return d, nil
		}
		return nil, fmt.Errorf("%v is no time: write 500ms, 25s, 24h", value)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("%.40q is no time: write 500ms, 25s, 24h", text)
	}
	return d, nil
}

// plain puts mapstructure's list of errors on one line.
func plain(err error) error {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = strings.TrimLeft(lines[i], "* \t")
	}
	return errors.New(strings.Join(slices.DeleteFunc(lines, func(s string) bool { return s == "" }), "; "))
}

// Keys are the paths of all settings in a struct of this package, as they stand in its file: limits.json_depth.
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

// String shows every setting on a line of its own, secrets hidden.
func (c *Config) String() string {
	var b strings.Builder
	for _, p := range []struct {
		name string
		v    any
	}{{"app", &c.App}, {"cache", &c.Cache}, {"db", &c.DB}} {
		walk(reflect.ValueOf(p.v).Elem(), p.name+".", func(path string, v reflect.Value, secret bool) {
			shown := fmt.Sprint(v.Interface())
			if secret && shown != "" {
				shown = "(hidden)"
			}
			fmt.Fprintf(&b, "%s: %s\n", path, shown)
		})
	}
	return b.String()
}

