package encoding

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf8"

	"github.com/entrainsync/entrain"
)

// avroForm is how the values of a column are written: a type of Avro's, with a
// logical type if there is one that fits.
type avroForm struct {
	kind avroKind
	// precision and scale of a decimal.
	precision, scale int
}

type avroKind uint8

const (
	avroString avroKind = iota
	avroInt
	avroLong
	avroFloat
	avroDouble
	avroBoolean
	avroBytes
	avroDecimal
	avroDate
	avroTime
	avroTimestamp
	avroLocal
	avroUUID
)

// avroKinds are those of PostgreSQL's types; all others are strings.
var avroKinds = map[string]avroKind{
	"int2": avroInt, "int4": avroInt, "int8": avroLong, "oid": avroLong, "float4": avroFloat, "float8": avroDouble, "bool": avroBoolean,
	"bytea": avroBytes, "date": avroDate, "time": avroTime, "timestamptz": avroTimestamp, "timestamp": avroLocal, "uuid": avroUUID,
}

// avroSchemas are the schemas of the forms that have one each.
var avroSchemas = map[avroKind]string{
	avroString: `"string"`, avroInt: `"int"`, avroLong: `"long"`, avroFloat: `"float"`, avroDouble: `"double"`, avroBoolean: `"boolean"`,
	avroBytes: `"bytes"`, avroDate: `{"type":"int","logicalType":"date"}`, avroTime: `{"type":"long","logicalType":"time-micros"}`,
	avroTimestamp: `{"type":"long","logicalType":"timestamp-micros"}`, avroLocal: `{"type":"long","logicalType":"local-timestamp-micros"}`,
	avroUUID: `{"type":"string","logicalType":"uuid"}`,
}

// maxPrecision is the most that numeric(precision, scale) has.
const maxPrecision = 1000

// avroForm returns the form of a column.
func (o *TypedOptions) avroForm(t *entrain.Table, c *entrain.Column) avroForm {
	if o.isString(t, c) {
		return avroForm{}
	}
	if c.Type == "numeric" && c.Modifier >= 4 {
		return decimalForm(int(c.Modifier))
	}
	return avroForm{kind: avroKinds[c.Type]}
}

// decimalForm is the form of numeric(p, s). Avro's scale lies between 0 and the
// precision: numeric(3,-2) has digits for its zeros there, and numeric(2,5) for the
// zeros behind its point.
func decimalForm(modifier int) avroForm {
	const bias = 1024 // of the modifier's lower 11 bits, PostgreSQL's numeric.c
	precision := (modifier - 4) >> 16 & 0xffff
	scale := (modifier-4)&0x7ff ^ bias - bias
	if precision == 0 || precision > maxPrecision {
		return avroForm{}
	}
	if scale < 0 {
		precision, scale = precision-scale, 0
	}
	return avroForm{kind: avroDecimal, precision: max(precision, scale), scale: scale}
}

// schema is the form in Avro's language.
func (f avroForm) schema() string {
	if f.kind == avroDecimal {
		return fmt.Sprintf(`{"type":"bytes","logicalType":"decimal","precision":%d,"scale":%d}`, f.precision, f.scale)
	}
	return avroSchemas[f.kind]
}

// name is the form for people.
func (f avroForm) name() string { return f.schema() }

// append writes a value; it is not ok if the value has no place in the form.
func (f avroForm) append(a *Avro, dst, v []byte) (out []byte, ok bool) {
	switch f.kind {
	case avroInt, avroLong:
		return f.appendInteger(dst, v)
	case avroFloat, avroDouble:
		return f.appendFloat(dst, v)
	case avroBoolean:
		if len(v) != 1 || v[0] != 't' && v[0] != 'f' {
			return dst, false
		}
		truth := byte(0)
		if v[0] == 't' {
			truth = 1
		}
		return append(dst, truth), true
	case avroBytes:
		return appendAvroHex(dst, v)
	case avroDecimal:
		return f.appendDecimal(a, dst, v)
	case avroDate, avroTime, avroTimestamp, avroLocal:
		return f.appendMoment(dst, v)
	}
	if !utf8.Valid(v) {
		return dst, false
	}
	return appendAvroBytes(dst, v), true
}

func (f avroForm) appendInteger(dst, v []byte) ([]byte, bool) {
	size := 64
	if f.kind == avroInt {
		size = 32
	}
	n, err := strconv.ParseInt(string(v), 10, size)
	return binary.AppendVarint(dst, n), err == nil
}

func (f avroForm) appendFloat(dst, v []byte) ([]byte, bool) {
	if f.kind == avroFloat {
		n, err := strconv.ParseFloat(string(v), 32)
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(n))), err == nil
	}
	n, err := strconv.ParseFloat(string(v), 64)
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(n)), err == nil
}

// appendAvroHex writes the bytes of "\x00ff".
func appendAvroHex(dst, v []byte) ([]byte, bool) {
	digits, ok := bytes.CutPrefix(v, []byte(`\x`))
	if !ok || len(digits)%2 != 0 {
		return dst, false
	}
	dst = binary.AppendVarint(dst, int64(len(digits)/2))
	dst, err := hex.AppendDecode(dst, digits)
	return dst, err == nil
}

// appendDecimal writes the unscaled number. The text of numeric(p,s) has s digits
// behind its point; fewer are made more, since 1.5 and 1.50 are one number.
func (f avroForm) appendDecimal(a *Avro, dst, v []byte) ([]byte, bool) {
	d, ok := parseDecimal(v)
	if !ok || len(d.decimal) > f.scale {
		return dst, false
	}
	if missing := f.scale - len(d.decimal); missing > 0 {
		d.decimal = append(append([]byte{}, d.decimal...), bytes.Repeat([]byte("0"), missing)...)
	}
	if significant(d) > f.precision {
		return dst, false
	}
	return appendAvroBytes(dst, a.numbers.unscaled(d)), true
}

// significant counts the digits of a number without the zeros in front.
func significant(d decimal) int {
	whole := bytes.TrimLeft(d.whole, "0")
	if len(whole) > 0 {
		return len(whole) + len(d.decimal)
	}
	return len(bytes.TrimLeft(d.decimal, "0"))
}

// appendMoment writes dates and times. Infinity and what lies beyond 64 bits of
// microseconds has no place, nor has 24:00:00, which is no time of a day there.
func (f avroForm) appendMoment(dst, v []byte) ([]byte, bool) {
	if f.kind == avroTime {
		micros, rest, ok := parseClock(v)
		return binary.AppendVarint(dst, micros), ok && len(rest) == 0 && micros < microsPerDay
	}
	m, ok := parseMoment(v)
	if !ok {
		return dst, false
	}
	if f.kind == avroDate {
		return binary.AppendVarint(dst, m.days), m.days == int64(int32(m.days))
	}
	micros, ok := m.unix()
	return binary.AppendVarint(dst, micros), ok
}

// unix returns the microseconds since 1970, not ok if 64 bits do not hold them.
func (m moment) unix() (micros int64, ok bool) {
	days := m.days
	negative := days < 0
	if negative {
		days = -days - 1 // so that what is added to it has its sign
	}
	high, low := bits.Mul64(uint64(days), microsPerDay)
	if high != 0 || low > math.MaxInt64 {
		return 0, false
	}
	if negative {
		micros = -int64(low) - (microsPerDay - m.micros)
		return micros, micros < 0
	}
	micros = int64(low) + m.micros
	return micros, micros >= 0
}

// validText returns s, or what a reader can read of it.
func validText(s []byte) []byte {
	if utf8.Valid(s) {
		return s
	}
	return bytes.ToValidUTF8(s, []byte("\uFFFD"))
}
