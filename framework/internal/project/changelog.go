package project

import "strings"

// newEntries returns the part of a changelog that an older one does not have: list items and
// paragraphs, each below its headings.
func newEntries(older, newer string) string {
	had := map[string]bool{}
	for _, e := range entriesOf(older) {
		had[e.text] = true
	}
	var out strings.Builder
	shown := make([]string, 7) // the heading of each level that stands above
	for _, e := range entriesOf(newer) {
		if had[e.text] {
			continue
		}
		for level, heading := range e.headings {
			if heading != "" && shown[level] != heading {
				out.WriteString(heading + "\n\n")
				shown[level] = heading
				clear(shown[level+1:])
			}
		}
		out.WriteString(e.text + "\n\n")
	}
	return strings.TrimSpace(out.String())
}

// entry is a list item or a paragraph.
type entry struct {
	headings []string // by level
	text     string
}

func entriesOf(text string) (list []entry) {
	headings := make([]string, 7)
	var lines []string
	flush := func() {
		if len(lines) > 0 {
			list = append(list, entry{append([]string(nil), headings...), strings.Join(lines, "\n")})
			lines = nil
		}
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		level := len(line) - len(strings.TrimLeft(line, "#"))
		switch {
		case strings.TrimSpace(line) == "":
			flush()
		case level > 0 && level < 7:
			flush()
			headings[level] = line
			clear(headings[level+1:])
			if level == 1 { // the document's title
				headings[1] = ""
			}
		case strings.HasPrefix(line, "- "):
			flush()
			lines = []string{line}
		default:
			lines = append(lines, line)
		}
	}
	flush()
	return list
}
