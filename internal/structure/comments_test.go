package structure

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	maxWords   = 25  // of the first sentence of a comment
	maxColumns = 100 // of a line of a comment; a tab is four
)

var (
	// sentenceEnd is a full stop, or a colon, which ends what a reader must keep in mind at once.
	sentenceEnd = regexp.MustCompile(`[.!?:](\s|$)`)
	noSubject   = regexp.MustCompile(`^(It|What|Who|Whoever|Whatever|Those|That|These|They|So)\b`)
)

// TestComments holds what makes comments readable: short first sentences that have a subject, and
// lines that fit beside code.
func TestComments(t *testing.T) {
	for _, dir := range []string{"app", "framework", "library", "public"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			source, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, file, source, parser.ParseComments)
			if err != nil {
				return err
			}
			lines := strings.Split(string(source), "\n")
			for _, group := range f.Comments {
				checkComment(t, fset, lines, group)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkComment(t *testing.T, fset *token.FileSet, lines []string, group *ast.CommentGroup) {
	t.Helper()
	at := fset.Position(group.Pos())
	where := strings.TrimPrefix(filepath.ToSlash(at.Filename), root+"/") + ":" + strconv.Itoa(at.Line)
	if strings.TrimSpace(lines[at.Line-1][:at.Column-1]) != "" {
		return // a note after code
	}
	for _, line := range lines[at.Line-1 : fset.Position(group.End()).Line] {
		if strings.HasPrefix(strings.TrimSpace(line), "//\t") {
			continue // code
		}
		if n := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    ")); n > maxColumns {
			t.Errorf("%s: a comment of %d columns, at most %d", where, n, maxColumns)
			break
		}
	}
	text := group.Text()
	if text == "" {
		return // a directive
	}
	paragraph, _, _ := strings.Cut(text, "\n\n")
	sentence := strings.Join(strings.Fields(paragraph), " ")
	if end := sentenceEnd.FindStringIndex(sentence); end != nil {
		sentence = sentence[:end[0]]
	}
	if n := len(strings.Fields(sentence)); n > maxWords {
		t.Errorf("%s: a first sentence of %d words, at most %d: %.60s…", where, n, maxWords, sentence)
	}
	if noSubject.MatchString(sentence) {
		t.Errorf("%s: a first sentence without a subject: %.60s…", where, sentence)
	}
}
