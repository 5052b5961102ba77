package project

import (
	"errors"
	"fmt"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/module"
)

// frameworkPath is the module path of the framework, in its own checkout and in projects.
const frameworkPath = "wsframe"

// checkModule refuses a module path that go.mod or the imports of a project could not have.
func checkModule(path string) error {
	first, _, _ := strings.Cut(path, "/")
	switch {
	case path == "":
		return errors.New("the module path is empty; take one such as example.com/shop")
	case len(path) > 200:
		return fmt.Errorf("the module path has %d bytes, and 200 are allowed", len(path))
	case first == frameworkPath:
		return fmt.Errorf("module path %q: %s is the framework's own; take one such as example.com/shop", path, frameworkPath)
	}
	if err := module.CheckImportPath(path); err != nil {
		return fmt.Errorf("%w; take one such as example.com/shop", err)
	}
	if !strings.Contains(first, ".") {
		return fmt.Errorf("module path %q: its first part must have a dot, since paths without are those of Go's library; take example.com/%s", path, path)
	}
	if base := path[strings.LastIndex(path, "/")+1:]; base == "internal" || base == "vendor" {
		return fmt.Errorf("module path %q: its last part has a meaning of its own in Go", path)
	}
	return nil
}

// moduleFor returns the module path of a project in a folder that nobody has given one.
func moduleFor(dir string) string {
	path := "example.com/" + strings.ToLower(filepath.Base(dir))
	if checkModule(path) != nil {
		return "example.com/app"
	}
	return path
}

// checkFolder refuses names of folders that do not work on every system.
func checkFolder(name string) error {
	bad := func(why string) error { return fmt.Errorf("folder %q: %s", name, why) }
	switch {
	case !utf8.ValidString(name):
		return bad("its name is not UTF-8")
	case len(name) > 200:
		return bad("its name is longer than 200 bytes")
	case strings.ContainsFunc(name, unicode.IsControl):
		return bad("its name has a control character")
	case strings.ContainsFunc(name, func(r rune) bool {
		return unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) || r == utf8.RuneError
	}):
		return bad("its name has a character that is not shown")
	case strings.ContainsAny(name, `<>:"|?*\`+"`"):
		return bad("its name has one of < > : \" | ? * \\ `, which some systems or shells do not take")
	case strings.HasPrefix(name, "-"):
		return bad("a name that begins with - is taken for an option")
	case strings.TrimRight(name, ". ") != name:
		return bad("its name ends with a dot or a blank, which Windows removes")
	case isDevice(name):
		return bad("Windows has a device of that name")
	}
	return nil
}

// isDevice tells whether Windows takes a name, with any extension, for a device.
func isDevice(name string) bool {
	stem, _, _ := strings.Cut(strings.ToLower(name), ".")
	return regexp.MustCompile(`^(con|prn|aux|nul|com[0-9]|lpt[0-9])$`).MatchString(strings.TrimSpace(stem))
}

// subject is what Make makes: an action of a controller of a module.
type subject struct{ module, controller, action string }

var partPattern = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// maxPart is the length of a part of a route. Clients send the route with every request.
const maxPart = 40

// predeclared are names that a package called so would hide in app.go. The package go/types, which
// has the list, would make every program larger.
var predeclared = strings.Fields(`any append bool byte cap clear close comparable complex complex128 complex64 copy delete error
	false float32 float64 imag int int16 int32 int64 int8 iota len make max min new nil panic print println real recover rune
	string true uint uint16 uint32 uint64 uint8 uintptr`)

// parseSubject reads module.controller or module.controller.action.
func parseSubject(text string) (subject, error) {
	if text == "" {
		return subject{}, errors.New("what to make? console make -i poll.vote makes the controller vote of the module poll")
	}
	bad := func(why string) (subject, error) { return subject{}, fmt.Errorf("make %q: %s", text, why) }
	parts := strings.Split(text, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return bad("the form is module.controller or module.controller.action, such as poll.vote")
	}
	for _, part := range parts {
		switch {
		case part == "":
			return bad("a part between the dots is empty; the form is module.controller, such as poll.vote")
		case len(part) > maxPart:
			return bad(fmt.Sprintf("a part has %d letters, and %d are allowed", len(part), maxPart))
		case part != strings.ToLower(part) && partPattern.MatchString(strings.ToLower(part)):
			return bad(fmt.Sprintf("names are in lower case: %s (clients may write them in any case)", strings.ToLower(text)))
		case !partPattern.MatchString(part):
			return bad(fmt.Sprintf("%q is no name: a letter, then letters and digits (a-z, 0-9)", part))
		case token.IsKeyword(part):
			return bad(fmt.Sprintf("%q is a keyword of Go", part))
		case isDevice(part):
			return bad(fmt.Sprintf("%q is a device on Windows, where no file can have that name", part))
		}
	}
	s := subject{module: parts[0], controller: parts[1], action: "index"}
	if len(parts) == 3 {
		s.action = parts[2]
	}
	switch {
	case slices.Contains([]string{"main", "internal", "vendor", "testdata"}, s.module):
		return bad(fmt.Sprintf("a folder %q has a meaning of its own in Go", s.module))
	case slices.Contains(predeclared, s.module):
		return bad(fmt.Sprintf("%q is predeclared in Go; app.go could not use it as a package", s.module))
	case s.action == "guard":
		return bad("Guard is a hook, and no action: -hook guard writes it")
	case s.module == "index" && s.controller == "sys":
		return bad("index.sys is the framework's own controller")
	}
	return s, nil
}

func (s subject) mount() string { return s.module + "." + s.controller }
func (s subject) route() string { return s.mount() + "." + s.action }

// exported returns a name with a capital at its beginning.
func exported(name string) string { return strings.ToUpper(name[:1]) + name[1:] }
