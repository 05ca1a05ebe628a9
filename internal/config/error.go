package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/entrainsync/entrain/connector"
)

// Error is a mistake in a pipeline file, or in what surrounds it. The command
// ends with exit code 2 on it.
type Error struct {
	// Path of the file.
	Path string
	// Line and Column count from 1, the column in characters; 0 if the
	// mistake has no place.
	Line, Column int
	// Message says what is wrong, in lower case.
	Message string
	// Hint says what to do, or is empty.
	Hint string
	// Err is the cause if another package found the mistake.
	Err error

	excerpt string // the line, credentials masked
	caret   int    // column of the caret in excerpt
	width   int
}

// Unwrap returns the cause, if another package found the mistake.
func (e *Error) Unwrap() error { return e.Err }

// Error returns the place and the message, the line with a caret below what is
// meant, and the hint, each on lines of its own. No credential is in it (P8).
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Path)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": " + connector.MaskURLs(e.Message))
	if e.excerpt != "" {
		gutter := fmt.Sprintf("%5d | ", e.Line)
		blank := strings.Repeat(" ", len(gutter)-2) + "| "
		fmt.Fprintf(&b, "\n%s%s\n%s%s%s", gutter, e.excerpt, blank,
			padding(e.excerpt, e.caret-1), strings.Repeat("^", max(1, e.width)))
	}
	if e.Hint != "" {
		b.WriteString("\n" + e.Hint)
	}
	return b.String()
}

// padding is blank text as wide as the first n characters of line; a tab stays
// one, whatever width the terminal gives it.
func padding(line string, n int) string {
	var b strings.Builder
	for _, r := range line {
		if n--; n < 0 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// errorf makes an error about the node.
func (n *node) errorf(format string, args ...any) *Error {
	e := &Error{Path: n.src.path, Line: n.line, Column: n.column, Message: fmt.Sprintf(format, args...)}
	line := n.src.line(n.line)
	if n.secret && !startsWithKey.MatchString(line) {
		return e // a credential alone on its line
	}
	e.excerpt, e.caret = maskLine(line, n.column, flowEnd)
	e.width = min(n.width, utf8.RuneCountInString(e.excerpt)-e.caret+1)
	return e
}

// unparsed makes an error about a place that the parser did not get past. The
// line is shown only if it starts with a key: else it may be the inside of a
// credential.
func (s *source) unparsed(line, column int, message string) *Error {
	e := &Error{Path: s.path, Line: line, Column: column, Message: message, width: 1}
	if startsWithKey.MatchString(s.line(line)) {
		e.excerpt, e.caret = maskLine(s.line(line), column, lineEnd)
	}
	return e
}

var (
	startsWithKey = regexp.MustCompile(`^\s*(- +)*(["']?[\w.-]+["']?|<<)\s*:`)
	// secretKey matches the names of keys whose values are masked.
	secretKey = regexp.MustCompile(`(?i)^(url|dsn|uri|.*(passw(or)?d|passphrase|secret|token|credentials?|api_?key|private_?key|access_?key))$`)
	// connectionKey matches those of them whose values hold more than a
	// credential.
	connectionKey = regexp.MustCompile(`(?i)^(url|dsn|uri)$`)

	// keyValue is a key and what is behind it; behind a key in quotes no blank is needed,
	// as in JSON.
	keyValue = regexp.MustCompile(`(["']?)([\w.-]+)(["']\s*:\s*|\s*:\s+)([^\s#].*)$`)
	// misplaced is a credential in a value that should hold none.
	misplaced = regexp.MustCompile(`(?i)(://[^:@]*:).*@|(passw(?:or)?d\s*=\s*)\S`)
	// flowValue is a value inside { } in a line that was parsed.
	flowValue = regexp.MustCompile(`^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^"',}\]]*)\s*[,}\]]`)
)

// lineEnd is where a value at most ends.
func lineEnd(line string, value int) int { return len(line) }

// flowEnd is where a value ends in a line that was parsed: inside { } maybe
// before the line does.
func flowEnd(line string, value int) int {
	v := flowValue.FindStringSubmatchIndex(line[value:])
	if v == nil || !strings.Contains(line[:value], "{") {
		return len(line)
	}
	return value + v[3]
}

// maskLine hides the credentials of a line, and moves the column with what is
// behind them. valueEnd tells where the value at an index ends.
func maskLine(line string, column int, valueEnd func(string, int) int) (string, int) {
	runes := utf8.RuneCountInString
	for start := 0; start < len(line); {
		m := keyValue.FindStringSubmatchIndex(line[start:])
		if m == nil {
			break
		}
		key, value := line[start+m[4]:start+m[5]], start+m[8]
		start = value
		if !secretKey.MatchString(key) || strings.HasPrefix(line[value:], "${") {
			continue
		}
		end := valueEnd(line, value)
		if behind := runes(line[:end]); column > behind {
			column += len(masked) - runes(line[value:end])
		} else {
			column = min(column, runes(line[:value])+1)
		}
		line = line[:value] + masked + line[end:]
		start = value + len(masked)
	}
	if m := misplaced.FindStringSubmatchIndex(line); m != nil {
		begin := max(m[3], m[5])
		return line[:begin] + masked, min(column, runes(line[:begin])+1)
	}
	return line, column
}
