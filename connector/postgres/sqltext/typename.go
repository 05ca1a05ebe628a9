package sqltext

import (
	"fmt"
	"strconv"
	"strings"
)

// sqlNames are the names that the SQL standard gives to types of the server.
var sqlNames = map[string]string{
	"bool": "boolean", "int2": "smallint", "int4": "integer", "int8": "bigint", "float4": "real", "float8": "double precision",
	"varchar": "character varying", "bpchar": "character", "varbit": "bit varying",
	"time": "time without time zone", "timetz": "time with time zone",
	"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone",
}

// typmodHeader is what the server adds to lengths and precisions.
const typmodHeader = 4

// TypeName writes a type as the server's format_type does: "character
// varying(20)". typ is the name that [entrain.Column] has and modifier what
// belongs to it, -1 for none. What the modifier of a type outside the server's own
// means is not known: it is written as a number.
//
// [entrain.Column]: https://pkg.go.dev/github.com/entrainsync/entrain#Column
func TypeName(typ string, modifier int32) string {
	element, isArray := strings.CutPrefix(typ, "_")
	if isArray {
		return TypeName(element, modifier) + "[]"
	}
	name := sqlNames[typ]
	switch {
	case typ == "bit" && modifier < 0, typ == "char":
		return Ident(typ) // the bare words mean a length of 1
	case typ == "bpchar" && modifier < 0:
		return typ
	case name == "":
		name = typ
	}
	if modifier < 0 {
		return name
	}
	switch typ {
	case "numeric":
		precision, scale := NumericParts(modifier)
		return fmt.Sprintf("numeric(%d,%d)", precision, scale)
	case "varchar", "bpchar":
		return fmt.Sprintf("%s(%d)", name, modifier-typmodHeader)
	case "time", "timetz", "timestamp", "timestamptz":
		word, zone, _ := strings.Cut(name, " ")
		return fmt.Sprintf("%s(%d) %s", word, modifier, zone)
	case "interval":
		return "interval" + intervalParts(modifier)
	}
	return name + "(" + strconv.Itoa(int(modifier)) + ")"
}

// NumericParts are precision and scale of a numeric's modifier.
func NumericParts(modifier int32) (precision, scale int32) {
	m := modifier - typmodHeader
	scale = m & 0x7ff
	if scale > 1023 {
		scale -= 2048 // from version 15 on a scale can be negative
	}
	return m >> 16, scale
}

// Bits of an interval's modifier.
const (
	month, year, day, hour, minute, second = 1 << 1, 1 << 2, 1 << 3, 1 << 10, 1 << 11, 1 << 12
	anyFields, anyPrecision                = 0x7fff, 0xffff
)

var intervalFields = map[int32]string{
	year: " year", month: " month", day: " day", hour: " hour", minute: " minute", second: " second",
	year | month: " year to month", day | hour: " day to hour", day | hour | minute: " day to minute",
	day | hour | minute | second: " day to second", hour | minute: " hour to minute",
	hour | minute | second: " hour to second", minute | second: " minute to second",
}

func intervalParts(modifier int32) string {
	fields, precision := modifier>>16&anyFields, modifier&anyPrecision
	text := intervalFields[fields]
	if precision != anyPrecision {
		text += fmt.Sprintf("(%d)", precision)
	}
	return text
}
