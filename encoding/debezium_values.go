package encoding

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
)

// The functions here are the conversions of the format debezium: canonical
// text to what Kafka Connect's JSON converter writes for the type.

func text(dst, v []byte) ([]byte, bool) { return appendString(dst, v), true }

func boolean(dst, v []byte) ([]byte, bool) {
	return strconv.AppendBool(dst, string(v) == "t"), string(v) == "t" || string(v) == "f"
}

func integer(dst, v []byte) ([]byte, bool) { return append(dst, v...), isJSONNumber(v) }

// float writes NaN and infinity as strings, as that converter does.
func float(dst, v []byte) ([]byte, bool) {
	switch {
	case isJSONNumber(v):
		return append(dst, v...), true
	case string(v) == "-0":
		return append(dst, "-0.0"...), true
	}
	return appendString(dst, v), string(v) == "NaN" || string(v) == "Infinity" || string(v) == "-Infinity"
}

// double writes a decimal as the nearest binary float.
func double(dst, v []byte) ([]byte, bool) {
	f, err := strconv.ParseFloat(string(v), 64)
	if math.IsInf(f, 0) || math.IsNaN(f) { // beyond the range is an error, too
		return appendFloatName(dst, f), true
	}
	return appendFloat(dst, f), err == nil
}

func appendFloat(dst []byte, f float64) []byte {
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64)
}

func appendFloatName(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case f < 0:
		return append(dst, `"-Infinity"`...)
	}
	return append(dst, `"Infinity"`...)
}

// numeric returns how decimals of a modifier are written.
func (o *DebeziumOptions) numeric(modifier int) valueFunc {
	switch {
	case o.DecimalHandlingMode == "double":
		return double
	case o.DecimalHandlingMode == "string":
		return decimalText
	case modifier < 4:
		return anyScale()
	}
	const bias = 1024 // of the modifier's lower 11 bits, PostgreSQL's numeric.c
	return fixedScale(((modifier-4)&0x7ff ^ bias) - bias)
}

func decimalText(dst, v []byte) ([]byte, bool) {
	switch string(v) {
	case "NaN":
		return append(dst, `"NAN"`...), true
	case "Infinity":
		return append(dst, `"POSITIVE_INFINITY"`...), true
	case "-Infinity":
		return append(dst, `"NEGATIVE_INFINITY"`...), true
	}
	return appendString(dst, v), true
}

// fixedScale writes decimals of a known scale: the digits as a binary number.
// NaN and infinity have no such form and are null.
func fixedScale(scale int) valueFunc {
	n := &integers{}
	return func(dst, v []byte) ([]byte, bool) {
		if isSpecial(v) {
			return append(dst, "null"...), true
		}
		d, ok := parseDecimal(v)
		if !ok || !d.scaled(scale) {
			return dst, false
		}
		dst = append(dst, '"')
		dst = n.appendBase64(dst, d)
		return append(dst, '"'), true
	}
}

// anyScale writes decimals that have each a scale of their own, without zeros
// at the end.
func anyScale() valueFunc {
	n := &integers{}
	return func(dst, v []byte) ([]byte, bool) {
		if isSpecial(v) {
			return append(dst, "null"...), true
		}
		d, ok := parseDecimal(v)
		if !ok {
			return dst, false
		}
		d.trim()
		dst = append(dst, `{"scale":`...)
		dst = strconv.AppendInt(dst, int64(len(d.decimal)), 10)
		dst = append(dst, `,"value":"`...)
		dst = n.appendBase64(dst, d)
		return append(dst, `"}`...), true
	}
}

func isSpecial(v []byte) bool {
	return string(v) == "NaN" || string(v) == "Infinity" || string(v) == "-Infinity"
}

// money reads what lc_monetary C prints: [-]$digits,digits.digits.
func (o *DebeziumOptions) money() valueFunc {
	const twoDigits = 4 + 2 // as a modifier
	amount := o.numeric(twoDigits)
	var scratch []byte
	return func(dst, v []byte) ([]byte, bool) {
		scratch = scratch[:0]
		for _, c := range v {
			if c != '$' && c != ',' {
				scratch = append(scratch, c)
			}
		}
		return amount(dst, scratch)
	}
}

// binary returns how bytes are written, which the decoder makes of the text.
func (o *DebeziumOptions) binary(decode func(dst, v []byte) ([]byte, bool)) valueFunc {
	appendEncoded := base64.StdEncoding.AppendEncode
	switch o.BinaryHandlingMode {
	case "base64-url-safe":
		appendEncoded = base64.URLEncoding.AppendEncode
	case "hex":
		appendEncoded = hex.AppendEncode
	}
	var scratch []byte
	return func(dst, v []byte) ([]byte, bool) {
		var ok bool
		scratch, ok = decode(scratch[:0], v)
		dst = append(dst, '"')
		dst = appendEncoded(dst, scratch)
		return append(dst, '"'), ok
	}
}

func rawBytes(dst, v []byte) ([]byte, bool) { return append(dst, v...), true }

// hexBytes reads bytea_output hex.
func hexBytes(dst, v []byte) ([]byte, bool) {
	if len(v) < 2 || v[0] != '\\' || v[1] != 'x' {
		return dst, false
	}
	dst, err := hex.AppendDecode(dst, v[2:])
	return dst, err == nil
}

// oneBit writes bit(1).
func oneBit(dst, v []byte) ([]byte, bool) {
	return strconv.AppendBool(dst, string(v) == "1"), len(v) == 1
}

// bitString writes bits as little-endian bytes without zeros at the end.
func bitString() valueFunc {
	var scratch []byte
	return func(dst, v []byte) ([]byte, bool) {
		scratch = scratch[:0]
		for i := len(v) - 1; i >= 0; i-- {
			at := len(v) - 1 - i
			if at%8 == 0 {
				scratch = append(scratch, 0)
			}
			scratch[at/8] |= (v[i] & 1) << (at % 8)
		}
		for len(scratch) > 0 && scratch[len(scratch)-1] == 0 {
			scratch = scratch[:len(scratch)-1]
		}
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, scratch)
		return append(dst, '"'), true
	}
}

// point writes the coordinates and the same as well-known binary.
func point() valueFunc {
	wkb := make([]byte, 21)
	wkb[0], wkb[1] = 1, 1 // little-endian, a point
	return func(dst, v []byte) ([]byte, bool) {
		if len(v) < 2 || v[0] != '(' || v[len(v)-1] != ')' {
			return dst, false
		}
		first, second, _ := bytes.Cut(v[1:len(v)-1], []byte(","))
		x, errX := strconv.ParseFloat(string(first), 64)
		y, errY := strconv.ParseFloat(string(second), 64)
		binary.LittleEndian.PutUint64(wkb[5:], math.Float64bits(x))
		binary.LittleEndian.PutUint64(wkb[13:], math.Float64bits(y))
		dst = append(dst, `{"x":`...)
		dst, okX := float(dst, first)
		dst = append(dst, `,"y":`...)
		dst, okY := float(dst, second)
		dst = append(dst, `,"wkb":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, wkb)
		return append(dst, `","srid":null}`...), okX && okY && errX == nil && errY == nil
	}
}

// appendNameUUID writes an array of the UUID that a name has by RFC 9562 §5.3
// without a name space.
func appendNameUUID(dst []byte, name string) []byte {
	sum := md5.Sum([]byte(name))
	sum[6] = sum[6]&0x0f | 0x30
	sum[8] = sum[8]&0x3f | 0x80
	dst = append(dst, `["`...)
	for i, b := range sum {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, []byte{b})
	}
	return append(dst, `"]`...)
}

// placeholderNumbers is the placeholder as an array of its bytes, which
// Debezium writes for arrays of integers.
func (o *DebeziumOptions) placeholderNumbers() []byte {
	dst := []byte{'['}
	for i := range len(o.UnavailableValuePlaceholder) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(int8(o.UnavailableValuePlaceholder[i])), 10)
	}
	return append(dst, ']')
}
