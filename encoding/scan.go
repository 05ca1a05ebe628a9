package encoding

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds the nesting of values that are skipped.
const maxDepth = 100

// scanner reads one JSON text whose grammar is known. After the first error it
// is at the end of its bytes and gives nothing more.
type scanner struct {
	b       []byte
	i       int // 0 <= i <= len(b)
	err     error
	scratch []byte // of the last text that had escapes
	decoded []byte // of the last text that was base64
}

func (s *scanner) fail(what string) {
	if s.err == nil {
		s.err = fmt.Errorf("at byte %d: %s", s.i, what)
	}
	s.i = len(s.b)
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		c := s.b[s.i]
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
		s.i++
	}
	return 0
}

// open goes into an object or array and reports whether there is an element.
func (s *scanner) open(begin, end byte) bool {
	if s.peek() != begin {
		s.fail("no " + string(rune(begin)))
		return false
	}
	s.i++
	if s.peek() == end {
		s.i++
		return false
	}
	return s.err == nil
}

// more goes to the next element and reports whether there is one.
func (s *scanner) more(end byte) bool {
	switch s.peek() {
	case ',':
		s.i++
		return true
	case end:
		s.i++
	default:
		s.fail("neither a comma nor the end")
	}
	return false
}

// name reads the name of a member and its colon. What it returns is valid until
// the next text is read.
func (s *scanner) name() []byte {
	if s.peek() != '"' {
		s.fail("no name")
		return nil
	}
	name := s.str()
	if s.peek() != ':' {
		s.fail("no colon")
		return nil
	}
	s.i++
	return name
}

// str reads a string. What it returns is a run of b or of scratch, never nil
// unless after an error.
func (s *scanner) str() []byte {
	raw, plain := s.raw()
	if plain || s.err != nil {
		return raw
	}
	return s.unescape(raw)
}

// raw reads a string and returns its inside as it stands, and whether that is
// without escapes.
func (s *scanner) raw() (inside []byte, plain bool) {
	if s.peek() != '"' {
		s.fail("no string")
		return nil, false
	}
	s.i++
	start := s.i
	plain = true
	for {
		s.i = stringEnd(s.b, s.i)
		if s.i >= len(s.b) || s.b[s.i] < ' ' {
			s.fail("a string does not end")
			return nil, false
		}
		if s.b[s.i] == '"' {
			s.i++
			return s.b[start : s.i-1], plain
		}
		plain = false
		s.i = min(s.i+2, len(s.b))
	}
}

// stringEnd returns where the next quote, backslash or control byte is, or len(b).
// As in plainPrefix, a borrow can only reach a lane above a true hit.
func stringEnd(b []byte, i int) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote := w ^ ones*'"'
		slash := w ^ ones*'\\'
		hit := ((w-ones*0x20)&^w | (quote-ones)&^quote | (slash-ones)&^slash) & highs
		if hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == '"' || c == '\\' {
			return i
		}
	}
	return i
}

// unescape replaces the escapes of a string. A half of a surrogate pair is no
// character and refused.
func (s *scanner) unescape(raw []byte) []byte {
	out := s.scratch[:0]
	for i := 0; i < len(raw); {
		n := stringEnd(raw, i)
		out = append(out, raw[i:n]...)
		if i = n; i >= len(raw) {
			break
		}
		switch c := raw[i+1]; c { // raw sees to it that a backslash has a byte behind it
		case '"', '\\', '/':
			out, i = append(out, c), i+2
		case 'b':
			out, i = append(out, '\b'), i+2
		case 'f':
			out, i = append(out, '\f'), i+2
		case 'n':
			out, i = append(out, '\n'), i+2
		case 'r':
			out, i = append(out, '\r'), i+2
		case 't':
			out, i = append(out, '\t'), i+2
		default:
			r, size := codePoint(raw[i:])
			if size == 0 {
				s.fail("an escape that is none")
				return nil
			}
			out, i = utf8.AppendRune(out, r), i+size
		}
	}
	s.scratch = out
	return out
}

// codePoint reads \uXXXX, or two of them for a character beyond 16 bits; size 0:
// it is none.
func codePoint(b []byte) (r rune, size int) {
	r = hex4(b)
	switch {
	case r < 0 || r >= 0xdc00 && r < 0xe000:
		return 0, 0
	case r < 0xd800 || r >= 0xe000:
		return r, 6
	}
	low := hex4(b[6:])
	if low < 0xdc00 || low >= 0xe000 {
		return 0, 0
	}
	return 0x10000 + (r-0xd800)<<10 + (low - 0xdc00), 12
}

func hex4(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	r := rune(0)
	for _, c := range b[2:6] {
		d := hexDigit(c)
		if d < 0 {
			return -1
		}
		r = r<<4 | rune(d)
	}
	return r
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// text reads a string, or the object that stands for bytes which are no UTF-8.
// What it returns is valid until the next one is read.
func (s *scanner) text() []byte {
	if s.peek() != '{' {
		return s.str()
	}
	var out []byte
	found := false
	for more := s.open('{', '}'); more; more = s.more('}') {
		if string(s.name()) != "base64" || found {
			s.fail("an object that is no base64")
			return nil
		}
		found = true
		out = s.base64()
	}
	if !found {
		s.fail("an object that is no base64")
	}
	return out
}

func (s *scanner) base64() []byte {
	raw := s.str()
	if s.err != nil {
		return nil
	}
	out, err := base64.StdEncoding.Strict().AppendDecode(s.decoded[:0], raw)
	if err != nil {
		s.fail("no base64")
	}
	s.decoded = out
	return out
}

// literal reads true, false or null and reports whether it is that.
func (s *scanner) literal(word string) bool {
	s.peek()
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return false
	}
	s.i += len(word)
	return true
}

func (s *scanner) boolean() bool {
	if s.literal("true") {
		return true
	}
	if !s.literal("false") {
		s.fail("neither true nor false")
	}
	return false
}

// number reads a number as it is spelt.
func (s *scanner) number() []byte {
	s.peek()
	start := s.i
	for s.i < len(s.b) && isNumberByte(s.b[s.i]) {
		s.i++
	}
	out := s.b[start:s.i]
	if !isJSONNumber(out) && string(out) != "-0" {
		s.i = start
		s.fail("no value")
		return nil
	}
	return out
}

func isNumberByte(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

// unsigned reads a number, or a string that holds one.
func (s *scanner) unsigned() uint64 {
	var text []byte
	if s.peek() == '"' {
		text = s.str()
	} else {
		text = s.number()
	}
	n, ok := parseUint(text)
	if !ok {
		s.fail("no number from 0 to 2^64-1")
	}
	return n
}

func parseUint(text []byte) (n uint64, ok bool) {
	if len(text) == 0 || len(text) > 20 {
		return 0, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		high, low := bits.Mul64(n, 10)
		sum, carry := bits.Add64(low, uint64(c-'0'), 0)
		if high != 0 || carry != 0 {
			return 0, false
		}
		n = sum
	}
	return n, true
}

func (s *scanner) int32() int32 {
	n, err := strconv.ParseInt(string(s.number()), 10, 32)
	if err != nil {
		s.fail("no number of 32 bits")
	}
	return int32(n)
}

// skip reads any value.
func (s *scanner) skip() { s.skipTo(maxDepth) }

func (s *scanner) skipTo(depth int) {
	if depth == 0 {
		s.fail("values within values within values")
		return
	}
	switch s.peek() {
	case '"':
		s.raw()
	case '{':
		for more := s.open('{', '}'); more; more = s.more('}') {
			s.raw()
			if s.peek() != ':' {
				s.fail("no colon")
				return
			}
			s.i++
			s.skipTo(depth - 1)
		}
	case '[':
		for more := s.open('[', ']'); more; more = s.more(']') {
			s.skipTo(depth - 1)
		}
	case 't', 'f':
		s.boolean()
	case 'n':
		if !s.literal("null") {
			s.fail("no value")
		}
	default:
		s.number()
	}
}
