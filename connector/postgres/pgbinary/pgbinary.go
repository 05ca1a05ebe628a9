// Package pgbinary turns values from PostgreSQL's canonical text into the
// binary form of its send and receive functions, for the types where that is
// cheaper for us than parsing the text is for the server. The forms are those
// of the server's source, src/backend/utils/adt, and are the same in all
// supported versions.
package pgbinary

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
)

// Form appends the binary form of a text to dst. It reports false, with dst
// unchanged in length, if the text is not in the canonical form that the
// server itself writes (DateStyle ISO, TimeZone UTC, bytea_output hex): then
// only the server can say what it means.
type Form func(dst, text []byte) ([]byte, bool)

// Of returns the form of a built-in type by its oid; nil if the type is not
// known here.
func Of(oid uint32) Form { return forms[oid] }

// Raw is the form of types whose text and binary form are the same bytes:
// strings, and enums, whatever their oid.
func Raw(dst, text []byte) ([]byte, bool) { return append(dst, text...), true }

// forms by the oid of pg_type, which is fixed for built-in types.
var forms = map[uint32]Form{
	16:   boolean,
	17:   bytea,
	19:   Raw, // name
	20:   int8,
	21:   int2,
	23:   int4,
	25:   Raw, // text
	26:   oid,
	114:  Raw, // json
	700:  float4,
	701:  float8,
	1042: Raw, // bpchar
	1043: Raw, // varchar
	1082: date,
	1083: clock, // time
	1114: timestamp,
	1184: timestamptz,
	1700: numeric,
	2950: uuid,
	3802: jsonb,
}

func boolean(dst, text []byte) ([]byte, bool) {
	switch string(text) {
	case "t":
		return append(dst, 1), true
	case "f":
		return append(dst, 0), true
	}
	return dst, false
}

func bytea(dst, text []byte) ([]byte, bool) {
	if len(text) < 2 || text[0] != '\\' || text[1] != 'x' {
		return dst, false
	}
	out, err := hex.AppendDecode(dst, text[2:])
	if err != nil {
		return dst, false
	}
	return out, true
}

// jsonb is its text behind the number of the form's version.
func jsonb(dst, text []byte) ([]byte, bool) { return append(append(dst, 1), text...), true }

func int8(dst, text []byte) ([]byte, bool) {
	v, ok := integer(text)
	if !ok {
		return dst, false
	}
	return binary.BigEndian.AppendUint64(dst, uint64(v)), true
}

func int4(dst, text []byte) ([]byte, bool) {
	v, ok := integer(text)
	if !ok || v < math.MinInt32 || v > math.MaxInt32 {
		return dst, false
	}
	return binary.BigEndian.AppendUint32(dst, uint32(v)), true
}

func int2(dst, text []byte) ([]byte, bool) {
	v, ok := integer(text)
	if !ok || v < math.MinInt16 || v > math.MaxInt16 {
		return dst, false
	}
	return binary.BigEndian.AppendUint16(dst, uint16(v)), true
}

func oid(dst, text []byte) ([]byte, bool) {
	v, ok := integer(text)
	if !ok || v < 0 || v > math.MaxUint32 {
		return dst, false
	}
	return binary.BigEndian.AppendUint32(dst, uint32(v)), true
}

// integer reads an optional minus and digits, within the range of int64.
func integer(text []byte) (int64, bool) {
	digits := text
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) > 18 { // may not fit: rare
		v, err := strconv.ParseInt(string(text), 10, 64)
		return v, err == nil && text[0] != '+'
	}
	v, ok := number(digits)
	if len(digits) < len(text) {
		v = -v
	}
	return v, ok
}

// number reads 1 to 18 digits.
func number(digits []byte) (int64, bool) {
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	var v int64
	for _, c := range digits {
		d := c - '0'
		if d > 9 {
			return 0, false
		}
		v = v*10 + int64(d)
	}
	return v, true
}

func float8(dst, text []byte) ([]byte, bool) {
	v, ok := float(text, 64)
	if !ok {
		return dst, false
	}
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), true
}

func float4(dst, text []byte) ([]byte, bool) {
	v, ok := float(text, 32)
	if !ok {
		return dst, false
	}
	return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(v))), true
}

// float reads what the server writes for a float of that many bits, which is
// the shortest text that is exact.
func float(text []byte, bits int) (float64, bool) {
	switch string(text) {
	case "NaN":
		return math.Float64frombits(0x7FF8 << 48), true // the server's, bit by bit
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	for _, c := range text {
		if c-'0' > 9 && c != '-' && c != '+' && c != '.' && c != 'e' {
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(string(text), bits)
	if v == 0 { // also what is too small to be told from it, which the server refuses
		mantissa, _, _ := bytes.Cut(text, []byte{'e'})
		return v, err == nil && !bytes.ContainsAny(mantissa, "123456789")
	}
	return v, err == nil
}

func uuid(dst, text []byte) ([]byte, bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return dst, false
	}
	out := dst
	for _, part := range [...][2]int{{0, 8}, {9, 13}, {14, 18}, {19, 23}, {24, 36}} {
		var err error
		if out, err = hex.AppendDecode(out, text[part[0]:part[1]]); err != nil {
			return dst, false
		}
	}
	return out, true
}
