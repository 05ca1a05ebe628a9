package pgbinary

import (
	"bytes"
	"encoding/binary"
)

// The signs of a numeric; NaN and the infinities are signs without digits.
const (
	numericNegative = 0x4000
	numericNaN      = 0xC000
	numericPlusInf  = 0xD000
	numericMinusInf = 0xF000
)

const (
	// maxScale is how many decimals the form can tell.
	maxScale = 0x3FFF
	// maxWhole bounds the digits before the point; the server's own bound is
	// a little higher.
	maxWhole = 128000
	// infiniteScale is what the server gives the infinities.
	infiniteScale = 32
)

// numeric is groups of four decimal digits, aligned at the decimal point.
// Groups of zeros at both ends are left out: weight is that of the first group
// left, as a power of 10,000.
func numeric(dst, text []byte) ([]byte, bool) {
	digits, sign := text, uint16(0)
	if len(digits) > 0 && digits[0] == '-' {
		digits, sign = digits[1:], numericNegative
	}
	whole, fraction, point := bytes.Cut(digits, []byte{'.'})
	if len(whole) == 0 || point && len(fraction) == 0 || len(fraction) > maxScale || len(whole) > maxWhole {
		return dst, false
	}
	if c := whole[0]; c == 'N' || c == 'I' {
		return numericSpecial(dst, string(text))
	}
	head := len(dst)
	var zero [8]byte
	out := append(dst, zero[:]...)
	first := (len(whole) + 3) / 4 // groups before the point
	weight := first - 1
	out, ok := appendGroups(out, whole, len(whole)-4*first)
	if ok {
		out, ok = appendGroups(out, fraction, 0)
	}
	if !ok {
		return dst, false
	}
	groups := out[head+8:]
	for len(groups) > 0 && groups[0] == 0 && groups[1] == 0 {
		groups = groups[2:]
		weight--
	}
	for n := len(groups); n > 0 && groups[n-1] == 0 && groups[n-2] == 0; n -= 2 {
		groups = groups[:n-2]
	}
	if len(groups) == 0 {
		weight, sign = 0, 0
	}
	copy(out[head+8:], groups)
	out = out[:head+8+len(groups)]
	binary.BigEndian.PutUint16(out[head:], uint16(len(groups)/2))
	binary.BigEndian.PutUint16(out[head+2:], uint16(weight))
	binary.BigEndian.PutUint16(out[head+4:], sign)
	binary.BigEndian.PutUint16(out[head+6:], uint16(len(fraction)))
	return out, true
}

// appendGroups appends the digits in groups of four. The first group begins at
// from, which is negative if zeros are to be added before; after the last digit
// zeros are added as needed.
func appendGroups(dst, digits []byte, from int) ([]byte, bool) {
	for at := from; at < len(digits); at += 4 {
		group := uint16(0)
		for i := at; i < at+4; i++ {
			d := byte(0)
			if i >= 0 && i < len(digits) {
				d = digits[i] - '0'
			}
			if d > 9 {
				return dst, false
			}
			group = group*10 + uint16(d)
		}
		dst = binary.BigEndian.AppendUint16(dst, group)
	}
	return dst, true
}

func numericSpecial(dst []byte, text string) ([]byte, bool) {
	sign, scale := uint16(0), uint16(infiniteScale)
	switch text {
	case "NaN":
		sign, scale = numericNaN, 0
	case "Infinity":
		sign = numericPlusInf
	case "-Infinity":
		sign = numericMinusInf
	default:
		return dst, false
	}
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, sign)
	return binary.BigEndian.AppendUint16(dst, scale), true
}
