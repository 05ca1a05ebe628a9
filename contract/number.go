package contract

import (
	"bytes"
	"regexp"
	"strconv"
)

var plain = regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?$`)

// plainNumber reports whether text is a number without an exponent.
func plainNumber(text []byte) bool { return plain.Match(text) }

// compareNumbers compares two numbers by their exact value, whatever their length:
// below 0 if a is less. What is not a plain number is one with an exponent, or NaN
// and Infinity, which are larger than all others as PostgreSQL has it.
func compareNumbers(a, b []byte) int {
	if !digitsOnly(a) || !digitsOnly(b) {
		return compareFloats(a, b)
	}
	negA, intA, fracA := split(a)
	negB, intB, fracB := split(b)
	if negA != negB {
		if negA {
			return -1
		}
		return 1
	}
	c := len(intA) - len(intB)
	if c == 0 {
		c = bytes.Compare(intA, intB)
	}
	if c == 0 {
		c = bytes.Compare(fracA, fracB) // without zeros at the end a prefix is less
	}
	if negA {
		return -c
	}
	return c
}

// bound is a number that many are compared with.
type bound struct {
	text  []byte
	n     int64 // if whole
	whole bool  // it is an integer of a few digits
}

func newBound(text string) bound {
	n, rest, ok := leading([]byte(text))
	return bound{[]byte(text), n, ok && len(bytes.Trim(rest, ".0")) == 0}
}

// compare is below 0 if the value is less than the bound. Where the digits before the
// point decide, nothing else is looked at.
func (b *bound) compare(value []byte) int {
	n, rest, ok := leading(value)
	switch {
	case !ok || !b.whole || n == b.n && len(rest) > 0:
		return compareNumbers(value, b.text)
	case n < b.n:
		return -1
	case n > b.n:
		return 1
	}
	return 0
}

// leading reads the digits before the point of a number that has few, and returns
// what is behind them: nothing, or a point and digits.
func leading(text []byte) (n int64, rest []byte, ok bool) {
	const most = 18 // digits fit in n
	digits := text
	if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
		digits = text[1:]
	}
	i := 0
	for i < len(digits) && i <= most && digits[i]-'0' <= 9 {
		n = 10*n + int64(digits[i]-'0')
		i++
	}
	rest = digits[i:]
	if i == 0 || i > most || len(rest) > 0 && (rest[0] != '.' || bytes.IndexByte(rest, 'e') >= 0 || bytes.IndexByte(rest, 'E') >= 0) {
		return 0, nil, false
	}
	if text[0] == '-' {
		n = -n
	}
	return n, rest, true
}

// digitsOnly reports that text has nothing but a sign, digits and a point.
func digitsOnly(text []byte) bool {
	for i, c := range text {
		if (c < '0' || c > '9') && c != '.' && (i > 0 || c != '-' && c != '+') {
			return false
		}
	}
	return len(text) > 0
}

// split returns the parts of a number without zeros that count for nothing. Zero has
// no sign.
func split(text []byte) (negative bool, whole, fraction []byte) {
	negative = text[0] == '-'
	if negative || text[0] == '+' {
		text = text[1:]
	}
	whole, fraction, _ = bytes.Cut(text, []byte{'.'})
	whole, fraction = bytes.TrimLeft(whole, "0"), bytes.TrimRight(fraction, "0")
	return negative && len(whole)+len(fraction) > 0, whole, fraction
}

func compareFloats(a, b []byte) int {
	x, y := float(a), float(b)
	switch {
	case x < y || x == x && y != y:
		return -1
	case x > y || x != x && y == y:
		return 1
	}
	return 0
}

// float reads NaN, ±Infinity and numbers with an exponent; what is none is NaN.
func float(text []byte) float64 {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil && f == 0 {
		f, _ = strconv.ParseFloat("NaN", 64)
	}
	return f
}
