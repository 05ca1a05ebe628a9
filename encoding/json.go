package encoding

import (
	"encoding/base64"
	"encoding/binary"
	"unicode/utf8"

	"github.com/entrainsync/entrain"
)

// maxSafe is 2^53, above which a JSON number is not exact in every reader.
const maxSafe = "9007199254740992"

// appendValue writes a value as JSON: integers up to 2^53 and finite floats as
// numbers, booleans as such, everything else as a string with every character
// of the canonical text.
func appendValue(dst []byte, kind entrain.Kind, v []byte) []byte {
	switch kind {
	case entrain.Integer:
		if isSafeInteger(v) {
			return append(dst, v...)
		}
	case entrain.Float:
		if isJSONNumber(v) {
			return append(dst, v...)
		}
	case entrain.Boolean:
		if len(v) == 1 && v[0] == 't' {
			return append(dst, "true"...)
		}
		if len(v) == 1 && v[0] == 'f' {
			return append(dst, "false"...)
		}
	}
	return appendString(dst, v)
}

// isSafeInteger reports whether v is an integer that JSON has as it stands and
// that any reader holds exactly.
func isSafeInteger(v []byte) bool {
	digits := v
	if len(v) > 0 && v[0] == '-' {
		digits = v[1:]
	}
	if len(digits) == 0 || len(digits) > len(maxSafe) || digits[0] == '0' && len(v) > 1 {
		return false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(digits) < len(maxSafe) || string(digits) <= maxSafe
}

// isJSONNumber reports whether v is a number by JSON's grammar (RFC 8259 §6)
// that every reader keeps: some read -0 as the integer 0.
func isJSONNumber(v []byte) bool {
	if string(v) == "-0" {
		return false
	}
	i := 0
	if i < len(v) && v[i] == '-' {
		i++
	}
	start := i
	i = skipDigits(v, i)
	if i == start || v[start] == '0' && i > start+1 {
		return false
	}
	if i < len(v) && v[i] == '.' {
		next := skipDigits(v, i+1)
		if next == i+1 {
			return false
		}
		i = next
	}
	if i < len(v) && (v[i] == 'e' || v[i] == 'E') {
		i++
		if i < len(v) && (v[i] == '+' || v[i] == '-') {
			i++
		}
		next := skipDigits(v, i)
		if next == i {
			return false
		}
		i = next
	}
	return i == len(v)
}

func skipDigits(v []byte, i int) int {
	for i < len(v) && v[i] >= '0' && v[i] <= '9' {
		i++
	}
	return i
}

// appendString writes s as a JSON string; bytes that are not UTF-8 (a source
// without an encoding can hold them) as {"base64":"…"}, which no other value
// looks like.
func appendString(dst, s []byte) []byte {
	plain := plainPrefix(s)
	if plain == len(s) {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	}
	if !utf8.Valid(s[plain:]) {
		dst = append(dst, `{"base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, s)
		return append(dst, `"}`...)
	}
	dst = append(dst, '"')
	dst = appendEscaped(dst, s)
	return append(dst, '"')
}

const hexDigits = "0123456789abcdef"

// appendEscaped writes the inside of a JSON string.
func appendEscaped(dst, s []byte) []byte {
	start := 0
	for i, c := range s {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(dst, s[start:]...)
}

// plainPrefix returns how many leading bytes of s are ASCII that a JSON string
// holds as they are. It looks at eight bytes at a time: a byte below 0x20,
// equal to a quote or a backslash, or above 0x7f sets the high bit of its lane
// (a borrow can only set a lane above a true hit, which the loop below sorts
// out byte by byte).
func plainPrefix(s []byte) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		quote := w ^ ones*'"'
		slash := w ^ ones*'\\'
		hit := (w-ones*0x20)&^w | (quote-ones)&^quote | (slash-ones)&^slash | w
		if hit&highs != 0 {
			break
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x80 || c == '"' || c == '\\' {
			return i
		}
	}
	return i
}
