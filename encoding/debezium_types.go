package encoding

import (
	"encoding/base64"
	"strings"
)

// debeziumType is how the values of a column are written.
type debeziumType struct {
	write valueFunc
	// absent stands for a value that the log did not carry; nil: Debezium has
	// nothing for the type, and the column is left out.
	absent []byte
	// unknown reports that Debezium does not know the type.
	unknown bool
}

// typeOf returns how columns of a type and modifier are written.
func (o *DebeziumOptions) typeOf(name string, modifier int32) debeziumType {
	schema, bare, qualified := strings.Cut(name, ".")
	if !qualified {
		schema, bare = "", name
	}
	if element, isArray := strings.CutPrefix(bare, "_"); isArray {
		if qualified {
			element = schema + "." + element
		}
		of := o.typeOf(element, modifier)
		return debeziumType{write: arrayOf(of.write, delimiterOf(element)), absent: o.absentArray(element), unknown: of.unknown}
	}
	if write := o.scalar(bare, int(modifier)); write != nil {
		return debeziumType{write: write, absent: o.absentScalar(bare)}
	}
	if qualified { // an enum as a rule; what else it may be is not told
		return debeziumType{write: text, absent: o.quoted()}
	}
	return debeziumType{write: o.binary(rawBytes), absent: o.absentScalar("bytea"), unknown: true}
}

// scalar returns how a type that is not an array is written; nil if it is not
// known.
func (o *DebeziumOptions) scalar(name string, modifier int) valueFunc {
	switch name {
	case "bool":
		return boolean
	case "int2", "int4", "int8", "oid":
		return integer
	case "float4", "float8":
		return float
	case "numeric":
		return o.numeric(modifier)
	case "money":
		return o.money()
	case "text", "varchar", "bpchar", "char", "name", "uuid", "json", "jsonb", "xml", "citext", "ltree",
		"inet", "cidr", "macaddr", "macaddr8", "tsvector",
		"int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange":
		return text
	case "bytea":
		return o.binary(hexBytes)
	case "bit", "varbit":
		if name == "bit" && modifier == 1 {
			return oneBit
		}
		return bitString()
	case "date", "time", "timetz", "timestamp", "timestamptz", "interval":
		return o.temporal(name, modifier)
	case "point":
		return point()
	case "hstore":
		if o.HstoreHandlingMode == "map" {
			return new(hstoreWriter).appendObject
		}
		return new(hstoreWriter).appendText
	}
	return nil
}

// quoted is the placeholder as a JSON string.
func (o *DebeziumOptions) quoted() []byte {
	return appendString(nil, []byte(o.UnavailableValuePlaceholder))
}

// absentScalar returns what stands for a missing value of a type. Only types
// that can be long enough to be stored apart matter.
func (o *DebeziumOptions) absentScalar(name string) []byte {
	switch name {
	case "text", "varchar", "bpchar", "json", "jsonb", "xml", "citext", "ltree", "tsvector",
		"numrange", "tsrange", "tstzrange", "daterange", "int4range", "int8range":
		return o.quoted()
	case "bytea":
		out, _ := o.binary(rawBytes)(nil, []byte(o.UnavailableValuePlaceholder))
		if o.BinaryHandlingMode == "hex" {
			return o.quoted()
		}
		return out
	case "numeric":
		if o.DecimalHandlingMode == "string" {
			return o.quoted()
		}
	case "hstore":
		object := append(append([]byte{'{'}, o.quoted()...), ':')
		object = append(append(object, o.quoted()...), '}')
		if o.HstoreHandlingMode == "map" {
			return object
		}
		return appendString(nil, object)
	}
	return nil
}

// absentArray is absentScalar for arrays.
func (o *DebeziumOptions) absentArray(element string) []byte {
	switch element {
	case "text", "varchar", "bpchar":
		return append(append([]byte{'['}, o.quoted()...), ']')
	case "uuid":
		return appendNameUUID(nil, o.UnavailableValuePlaceholder)
	case "int4", "int8":
		return o.placeholderNumbers()
	case "date":
		if o.TimePrecisionMode != "isostring" && o.TimePrecisionMode != "connect" {
			return o.placeholderNumbers()
		}
	case "bytea":
		if o.BinaryHandlingMode == "bytes" {
			out := base64.StdEncoding.AppendEncode([]byte(`["`), []byte(o.UnavailableValuePlaceholder))
			return append(out, `"]`...)
		}
	}
	return nil
}
