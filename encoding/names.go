package encoding

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// EscapeName makes of any name one that schemas can have: letters and digits of
// ASCII and underscores, no digit first. What cannot stand is written as _x and
// the character's number in four or six hexadecimal digits and an underscore, as
// SQL/XML does it, and so is an underscore that begins such a run itself; a byte
// that is no UTF-8 has the number DC00 and the byte. [UnescapeName] is its inverse;
// the empty name is _x_.
func EscapeName(name string) string {
	if name == "" {
		return "_x_"
	}
	if isPlainName(name) {
		return name
	}
	var out strings.Builder
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			appendEscape(&out, 0xdc00+rune(name[i]))
		case r == '_' && strings.HasPrefix(name[i+1:], "x"):
			appendEscape(&out, r)
		case isNameByte(r) && (i > 0 || r > '9'):
			out.WriteRune(r)
		default:
			appendEscape(&out, r)
		}
		i += size
	}
	return out.String()
}

func appendEscape(out *strings.Builder, r rune) {
	digits := strings.ToUpper(strconv.FormatInt(int64(r), 16))
	width := 4
	if len(digits) > width {
		width = 6
	}
	out.WriteString("_x")
	out.WriteString("000000"[:width-len(digits)])
	out.WriteString(digits)
	out.WriteByte('_')
}

func isPlainName(s string) bool {
	for i, r := range s {
		if !isNameByte(r) || i == 0 && r <= '9' {
			return false
		}
	}
	return !strings.Contains(s, "_x")
}

func isNameByte(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// UnescapeName returns the name of which [EscapeName] made s. What it cannot have
// made stays as it is.
func UnescapeName(s string) string {
	if s == "_x_" {
		return ""
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "_x")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		digits, after, closed := strings.Cut(rest, "_")
		n, err := strconv.ParseUint(digits, 16, 32)
		if !closed || err != nil || len(digits) != 4 && len(digits) != 6 {
			out.WriteString("_x")
			s = rest
			continue
		}
		if n >= 0xdc00 && n <= 0xdcff {
			out.WriteByte(byte(n))
		} else {
			out.WriteRune(rune(n))
		}
		s = after
	}
}
