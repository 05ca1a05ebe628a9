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
