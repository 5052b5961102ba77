package config

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// maxKept is the greatest length of a history.
const maxKept = 100_000

// HistoryRule is an entry of history.rooms: rooms that match Pattern keep Length pushes for Age.
type HistoryRule struct {
	Pattern string // for path.Match
	Length  int
	Age     time.Duration
}

// HistoryRules reads history.rooms, a list of pattern:length:age. A pattern may contain colons.
func HistoryRules(list []string) ([]HistoryRule, error) {
	var rules []HistoryRule
	for _, text := range list {
		bad := func(why string) error {
			return fmt.Errorf("%.80q: %s; wanted is pattern:length:age, like CHAT_*:200:24h", text, why)
		}
		fields := strings.Split(text, ":")
		n := len(fields)
		if n < 3 {
			return nil, bad("something is missing")
		}
		r := HistoryRule{Pattern: strings.Join(fields[:n-2], ":")}
		var err error
		if checkPattern(r.Pattern) != nil {
			return nil, bad("the pattern cannot be read")
		}
		if r.Length, err = strconv.Atoi(fields[n-2]); err != nil || r.Length < 1 || r.Length > maxKept {
			return nil, bad("the length is 1 to 100000")
		}
		if r.Age, err = time.ParseDuration(fields[n-1]); err != nil || r.Age < time.Second {
			return nil, bad("the age is a time from 1s on")
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// CheckPresence checks the patterns of presence.rooms.
func CheckPresence(list []string) error {
	for _, pattern := range list {
		if checkPattern(pattern) != nil {
			return fmt.Errorf("%.80q: the pattern cannot be read; wanted is one like CHAT_*", pattern)
		}
	}
	return nil
}

func checkPattern(pattern string) error {
	if pattern == "" {
		return errors.New("is empty")
	}
	_, err := path.Match(pattern, "")
	return err
}
