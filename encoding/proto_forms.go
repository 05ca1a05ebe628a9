package encoding

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/entrainsync/entrain"
)

// protoKind is how the values of a column are written.
type protoKind uint8

const (
	protoString protoKind = iota
	protoInt32
	protoInt64
	protoFloat
	protoDouble
	protoBool
	protoBytes
	protoTimestamp
)

// protoTypes are their names in a schema.
var protoTypes = [...]string{"string", "int32", "int64", "float", "double", "bool", "bytes", ".google.protobuf.Timestamp"}

// protoKinds are those of PostgreSQL's types; all others are strings.
var protoKinds = map[string]protoKind{
	"int2": protoInt32, "int4": protoInt32, "int8": protoInt64, "oid": protoInt64, "float4": protoFloat, "float8": protoDouble, "bool": protoBool,
	"bytea": protoBytes, "timestamptz": protoTimestamp,
}

func (o *TypedOptions) protoKind(t *entrain.Table, c *entrain.Column) protoKind {
	if o.isString(t, c) {
		return protoString
	}
	return protoKinds[c.Type]
}

// The types on the wire.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

func appendProtoTag(dst []byte, number, wire int) []byte {
	return binary.AppendUvarint(dst, uint64(number)<<3|uint64(wire))
}

func appendProtoNumber(dst []byte, number int, v uint64) []byte {
	return binary.AppendUvarint(appendProtoTag(dst, number, wireVarint), v)
}

func appendProtoBytes(dst []byte, number int, b []byte) []byte {
	dst = binary.AppendUvarint(appendProtoTag(dst, number, wireBytes), uint64(len(b)))
	return append(dst, b...)
}

// append writes a value; it is not ok if the value has no place in the type.
func (c *protoColumn) append(dst, v []byte) (out []byte, ok bool) {
	switch c.kind {
	case protoInt32, protoInt64:
		size := 64
		if c.kind == protoInt32 {
			size = 32
		}
		n, err := strconv.ParseInt(string(v), 10, size)
		return appendProtoNumber(dst, c.number, uint64(n)), err == nil
	case protoFloat:
		n, err := strconv.ParseFloat(string(v), 32)
		return binary.LittleEndian.AppendUint32(appendProtoTag(dst, c.number, wireFixed32), math.Float32bits(float32(n))), err == nil
	case protoDouble:
		n, err := strconv.ParseFloat(string(v), 64)
		return binary.LittleEndian.AppendUint64(appendProtoTag(dst, c.number, wireFixed64), math.Float64bits(n)), err == nil
	case protoBool:
		if len(v) != 1 || v[0] != 't' && v[0] != 'f' {
			return dst, false
		}
		truth := uint64(0)
		if v[0] == 't' {
			truth = 1
		}
		return appendProtoNumber(dst, c.number, truth), true
	case protoBytes:
		return c.appendHex(dst, v)
	case protoTimestamp:
		return c.appendTimestamp(dst, v)
	}
	if !utf8.Valid(v) {
		return dst, false
	}
	return appendProtoBytes(dst, c.number, v), true
}

// appendHex writes the bytes of "\x00ff".
func (c *protoColumn) appendHex(dst, v []byte) ([]byte, bool) {
	digits, ok := bytes.CutPrefix(v, []byte(`\x`))
	if !ok || len(digits)%2 != 0 {
		return dst, false
	}
	dst = binary.AppendUvarint(appendProtoTag(dst, c.number, wireBytes), uint64(len(digits)/2))
	dst, err := hex.AppendDecode(dst, digits)
	return dst, err == nil
}

// The first second of year 1 and the first one of year 10000, which bound a
// Timestamp.
const (
	protoFirstSecond = -62_135_596_800
	protoEndSecond   = 253_402_300_800
)

// appendTimestamp writes a moment. Infinity and years before 1 or after 9999 have no
// place in a Timestamp.
func (c *protoColumn) appendTimestamp(dst, v []byte) ([]byte, bool) {
	m, ok := parseMoment(v)
	micros, fits := m.unix()
	if !ok || !fits {
		return dst, false
	}
	seconds := floorDiv(micros, microsPerSecond)
	if seconds < protoFirstSecond || seconds >= protoEndSecond {
		return dst, false
	}
	var at [2 * (1 + binary.MaxVarintLen64)]byte
	return appendProtoBytes(dst, c.number, appendProtoSeconds(at[:0], seconds, micros-seconds*microsPerSecond)), true
}

func appendProtoTime(dst []byte, t time.Time) []byte {
	return appendProtoSeconds(dst, t.Unix(), int64(t.Nanosecond()/1000))
}

// appendProtoSeconds writes the fields of a Timestamp.
func appendProtoSeconds(dst []byte, seconds, micros int64) []byte {
	if seconds != 0 {
		dst = appendProtoNumber(dst, 1, uint64(seconds))
	}
	if micros != 0 {
		dst = appendProtoNumber(dst, 2, uint64(micros*1000))
	}
	return dst
}

// protoSyntax is the language's older version: to the newer one, names that differ
// in underscores and capitals only, such as user_id and userId, are one.
const protoSyntax = "syntax = \"proto2\";\n"

// protoHead begins a schema that has times in it.
func protoHead(space string) string {
	return protoSyntax + "package " + space + ";\n\nimport \"google/protobuf/timestamp.proto\";\n\n"
}

// protoField is a field with its own name in JSON, too: those that are made of two
// names could be one.
func protoField(typ, name string, number int) string {
	return fmt.Sprintf("  %s %s = %d [json_name = %q];\n", typ, name, number, name)
}

var protoMeta = protoField("optional string", "__op", protoOp) + protoField("optional string", "__id", protoID) +
	protoField("optional uint64", "__version", protoVersion) + protoField("optional uint64", "__ordinal", protoOrdinal) +
	protoField("optional .google.protobuf.Timestamp", "__commit_time", protoCommitTime)

// value is the schema of a table's events.
func (p *Proto) value(t *entrain.Table, space string) string {
	var out strings.Builder
	out.WriteString(protoHead(space) + "message Value {\n" + protoMeta)
	out.WriteString(protoField("optional bool", "__deleted", protoDeleted) + protoField("optional string", "__schema_version", protoSchemaVersion) +
		protoField("repeated string", "__unchanged", protoUnchanged))
	if t.FullIdentity {
		out.WriteString(protoField("optional ."+space+".Before", "__before", protoBefore))
	}
	all := func(*entrain.Column) bool { return true }
	p.fields(&out, t, all)
	out.WriteString("}\n")
	if t.FullIdentity {
		out.WriteString("\nmessage Before {\n")
		p.fields(&out, t, all)
		out.WriteString("}\n")
	}
	return out.String()
}

// fields writes a field for each column that is wanted; all tell whether they are
// there.
func (p *Proto) fields(out *strings.Builder, t *entrain.Table, wanted func(*entrain.Column) bool) {
	numbers := protoNumbers(t)
	for i := range t.Columns {
		if c := &t.Columns[i]; wanted(c) {
			out.WriteString(protoField("optional "+protoTypes[p.options.protoKind(t, c)], typedName(t, c.Name), numbers[i]))
		}
	}
}
