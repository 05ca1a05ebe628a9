package encoding

import (
	"encoding/base64"
	"math/bits"
)

// decimal is an exact number as text, taken apart. The parts are slices of it.
type decimal struct {
	negative       bool
	whole, decimal []byte // the digits before and behind the point
}

// parseDecimal reads [-]digits[.digits]; everything else, NaN and infinity
// among it, is not ok.
func parseDecimal(v []byte) (d decimal, ok bool) {
	if len(v) > 0 && v[0] == '-' {
		d.negative, v = true, v[1:]
	}
	end := skipDigits(v, 0)
	d.whole = v[:end]
	if end == len(v) {
		return d, end > 0
	}
	d.decimal = v[end+1:]
	return d, end > 0 && v[end] == '.' && skipDigits(d.decimal, 0) == len(d.decimal)
}

// trim drops the zeros at the end of the decimals.
func (d *decimal) trim() {
	for n := len(d.decimal); n > 0 && d.decimal[n-1] == '0'; n-- {
		d.decimal = d.decimal[:n-1]
	}
}

// scaled moves the decimal point so that there are scale digits behind it;
// digits that then are too many must be zeros.
func (d *decimal) scaled(scale int) (ok bool) {
	switch {
	case scale >= 0:
		return len(d.decimal) == scale
	case len(d.decimal) > 0:
		return false
	case len(d.whole) > -scale:
		d.whole = d.whole[:len(d.whole)+scale]
	default:
		d.whole = d.whole[:1] // it is 0
	}
	return true
}

// integers turns decimal digits into the bytes of a binary number, in memory
// that is used again.
type integers struct {
	limbs []uint64 // the least significant first
	bytes []byte
}

// appendBase64 writes the unscaled number in base64.
func (n *integers) appendBase64(dst []byte, d decimal) []byte {
	return base64.StdEncoding.AppendEncode(dst, n.unscaled(d))
}

// unscaled returns the number that the decimal is without its point as two's
// complement, big-endian, as few bytes as hold it. It is valid until the next call.
func (n *integers) unscaled(d decimal) []byte {
	n.limbs = n.limbs[:0]
	n.push(d.whole)
	n.push(d.decimal)
	flip := byte(0)
	if d.negative && len(n.limbs) > 0 {
		flip = 0xff // -x is ^(x-1)
		n.decrement()
	}
	n.bytes = append(n.bytes[:0], flip)
	for i := len(n.limbs) - 1; i >= 0; i-- {
		for shift := 56; shift >= 0; shift -= 8 {
			n.bytes = append(n.bytes, byte(n.limbs[i]>>shift)^flip)
		}
	}
	out := n.bytes
	for len(out) > 1 && out[0] == flip && (out[1]^flip)&0x80 == 0 {
		out = out[1:]
	}
	return out
}

// push appends decimal digits to the number, as many at a time as fit into a
// word.
func (n *integers) push(digits []byte) {
	for len(digits) > 0 {
		factor, part, i := uint64(1), uint64(0), 0
		for ; i < len(digits) && i < 19; i++ {
			factor *= 10
			part = part*10 + uint64(digits[i]-'0')
		}
		digits = digits[i:]
		for l := range n.limbs {
			high, low := bits.Mul64(n.limbs[l], factor)
			low, carry := bits.Add64(low, part, 0)
			n.limbs[l], part = low, high+carry
		}
		if part > 0 {
			n.limbs = append(n.limbs, part)
		}
	}
}

func (n *integers) decrement() {
	for l := range n.limbs {
		n.limbs[l]--
		if n.limbs[l] != ^uint64(0) {
			return
		}
	}
}
