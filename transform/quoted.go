package transform

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// quoted is an expression as CEL reads it. CEL's own names in backticks have few
// characters, names of columns have all. So one that CEL would not take stands in
// the text under another name, of the same length, which keeps mistakes in place.
type quoted struct {
	text  string
	names map[string]string // what stands in the text → the column
}

var (
	// tokens are those of CEL's grammar that can have a backtick in them, and
	// words, whose last letter must not be taken for the prefix of a text.
	tokens = regexp.MustCompile(`//[^\n]*|(?s:[bB]?[rR]""".*?"""|[bB]?[rR]'''.*?'''|"""(?:\\.|[^\\])*?"""|'''(?:\\.|[^\\])*?''')|` +
		`[bB]?[rR]"[^"\n\r]*"|[bB]?[rR]'[^'\n\r]*'|"(?:\\.|[^\\"\n\r])*"|'(?:\\.|[^\\'\n\r])*'|` +
		"`(?:[^`\n]|``)+`|" + `[A-Za-z0-9_]+`)
	celName = regexp.MustCompile("^`[A-Za-z0-9_./ -]+`$")
)

// readNames reads the names in backticks of an expression. Two backticks in a name
// are one, as it is with the quotes of SQL.
func readNames(text string) quoted {
	q := quoted{names: map[string]string{}}
	q.text = tokens.ReplaceAllStringFunc(text, func(token string) string {
		if token[0] != '`' || celName.MatchString(token) {
			return token
		}
		name := strings.ReplaceAll(token[1:len(token)-1], "``", "`")
		for i := 0; ; i++ {
			in := fmt.Sprintf("%0*x", utf8.RuneCountInString(token)-2, i)
			if other, taken := q.names[in]; taken && other != name || strings.Contains(text, "`"+in+"`") {
				continue
			}
			q.names[in] = name
			return "`" + in + "`"
		}
	})
	return q
}

// column is what a name in the text means.
func (q quoted) column(name string) string {
	if column, ok := q.names[name]; ok {
		return column
	}
	return name
}

// original has the names of columns in a message of CEL's as they were written.
func (q quoted) original(message string) string {
	for in, column := range q.names {
		message = strings.ReplaceAll(message, "`"+in+"`", "`"+strings.ReplaceAll(column, "`", "``")+"`")
	}
	return message
}
