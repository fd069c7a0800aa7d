package cli

import (
	"errors"
	"strings"
)

// errUnclosed is of a line that ends within quotes.
var errUnclosed = errors.New("a quote is not closed")

// word is one word of a line.
type word struct {
	text string
	at   int // where it begins in the line, in bytes
}

// split takes a line apart as a shell does: at white space, but for what is
// quoted: 'as it is', "with \" and \\", or by \ alone. There is nothing else: no
// variables, no patterns, no redirection.
func split(line string) (words []word, err error) {
	var text strings.Builder
	open, escaped, quote, at := false, false, rune(0), 0
	begin := func(i int) {
		if !open {
			open, at = true, i
		}
	}
	for i, r := range line {
		switch {
		case escaped:
			if quote == '"' && r != '"' && r != '\\' {
				text.WriteRune('\\')
			}
			text.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			begin(i)
			escaped = true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			begin(i)
			quote = r
		case quote == 0 && (r == ' ' || r == '\t'):
			if open {
				words = append(words, word{text.String(), at})
			}
			text.Reset()
			open = false
		default:
			begin(i)
			text.WriteRune(r)
		}
	}
	if open {
		words = append(words, word{text.String(), at})
	}
	if quote != 0 || escaped {
		return words, errUnclosed
	}
	return words, nil
}

// texts are the words without how they were written.
func texts(words []word) []string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = w.text
	}
	return list
}

// quote writes text so that split takes it for one word.
func quote(text string) string {
	if text != "" && !strings.ContainsAny(text, " \t'\"\\#") {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
