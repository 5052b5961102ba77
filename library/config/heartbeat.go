package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxHeartbeats = 32
	maxHeartbeat  = 125 // bytes of a text, and of its answer
)

// HeartbeatTexts reads heartbeat.texts, a list of text=answer, and adds that of contract §3: 2 is
// answered by 3. An empty answer means that the text is not answered. A text may be empty, and
// contains no =.
func HeartbeatTexts(list []string) (map[string]string, error) {
	texts := map[string]string{"2": "3"}
	if len(list) > maxHeartbeats {
		return nil, fmt.Errorf("there are %d, at most %d are allowed", len(list), maxHeartbeats)
	}
	for _, one := range list {
		text, answer, ok := strings.Cut(one, "=")
		_, twice := texts[text]
		switch {
		case !ok:
			return nil, fmt.Errorf("%q: wanted is text=answer, or text= where nothing is answered", one)
		case twice:
			return nil, fmt.Errorf("%q: %q has its answer already", one, text)
		case len(text) > maxHeartbeat || len(answer) > maxHeartbeat:
			return nil, fmt.Errorf("%.40q: a text and its answer have at most %d bytes each", one, maxHeartbeat)
		case !utf8.ValidString(one) || strings.ContainsFunc(one, unicode.IsControl):
			return nil, fmt.Errorf("%q: only printed characters are allowed", one)
		}
		texts[text] = answer
	}
	return texts, nil
}
