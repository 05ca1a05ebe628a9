package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// valueType is a type as both ends name it: without domains, with its modifier.
type valueType struct {
	name     string
	modifier int32
}

// fit says what becomes of the source's values in the target's column.
type fit uint8

const (
	fits    fit = iota // every value
	refuses            // some values are refused
	alters             // some values are changed without a word
	unknown            // the types have nothing to do with each other
)

var (
	integers = []string{"int2", "int4", "int8"}
	strs     = []string{"text", "varchar", "bpchar"}
	// sized types have a length that no value may exceed.
	sized = []string{"varchar", "bpchar", "bit", "varbit"}
	timed = []string{"time", "timetz", "timestamp", "timestamptz"}
)

// pairs are the types that meet another one and are not covered by a rule.
var pairs = map[[2]string]fit{
	{"float4", "float8"}: fits, {"float8", "float4"}: alters, {"numeric", "float8"}: alters, {"numeric", "float4"}: alters,
	{"int2", "float4"}: fits, {"int2", "float8"}: fits, {"int4", "float8"}: fits, {"int4", "float4"}: alters,
	{"int8", "float8"}: alters, {"int8", "float4"}: alters,
	{"float4", "numeric"}: refuses, {"float8", "numeric"}: refuses,
	{"json", "jsonb"}: alters, {"jsonb", "json"}: fits, {"cidr", "inet"}: fits, {"inet", "cidr"}: refuses, {"oid", "int8"}: fits,
	{"date", "timestamp"}: fits, {"timestamp", "date"}: alters, {"timestamptz", "date"}: alters,
	{"timestamptz", "timestamp"}: alters, {"timetz", "time"}: alters, {"bit", "varbit"}: fits,
	{"macaddr", "macaddr8"}: fits, {"text", "name"}: alters, {"varchar", "name"}: alters, {"bpchar", "name"}: alters,
}

// fitOf compares two types. Values travel as text, so that text takes them all.
func fitOf(from, to valueType) fit {
	switch {
	case from.name == to.name:
		return fitSame(from, to)
	case to.name == "text" || to.name == "varchar" && to.modifier < 0:
		return fits
	case slices.Contains(strs, from.name) && slices.Contains(strs, to.name):
		return fitSized(from, to)
	case slices.Contains(integers, from.name) && to.name == "numeric":
		return fitDigits(digitsOf[from.name], 0, to)
	case from.name == "numeric" && slices.Contains(integers, to.name):
		return refuses
	}
	narrow, wide := slices.Index(integers, from.name), slices.Index(integers, to.name)
	switch {
	case narrow >= 0 && wide >= 0 && narrow < wide:
		return fits
	case narrow >= 0 && wide >= 0:
		return refuses
	}
	if f, ok := pairs[[2]string{from.name, to.name}]; ok {
		return f
	}
	return unknown
}

var digitsOf = map[string]int32{"int2": 5, "int4": 10, "int8": 19}

func fitSame(from, to valueType) fit {
	switch {
	case to.modifier < 0 || from.modifier == to.modifier:
		return fits
	case from.name == "numeric":
		if from.modifier < 0 {
			return alters // any scale is rounded
		}
		precision, scale := numericOf(from.modifier)
		return fitDigits(precision-scale, scale, to)
	case slices.Contains(timed, from.name):
		const finest = 6
		if to.modifier >= finest || from.modifier >= 0 && from.modifier < to.modifier {
			return fits
		}
		return alters
	case slices.Contains(sized, from.name):
		return fitSized(from, to)
	}
	return unknown
}

// fitSized compares lengths; what is too long is refused.
func fitSized(from, to valueType) fit {
	exact := from.name == "bit" && to.name == "bit"
	if to.modifier < 0 || from.modifier >= 0 && from.modifier <= to.modifier && !exact {
		return fits
	}
	return refuses
}

// fitDigits compares digits before and behind the point with a numeric type.
func fitDigits(whole, scale int32, to valueType) fit {
	if to.modifier < 0 {
		return fits
	}
	toPrecision, toScale := numericOf(to.modifier)
	switch {
	case toScale < scale:
		return alters
	case toPrecision-toScale < whole:
		return refuses
	}
	return fits
}

// numericOf takes the modifier of numeric apart as the server does.
func numericOf(modifier int32) (precision, scale int32) {
	modifier -= 4
	return modifier >> 16 & 0xffff, (modifier&0x7ff ^ 1024) - 1024
}

// people writes the type as messages have it.
func (t valueType) people() string { return t.name + t.suffix() }

// suffix is the modifier in parentheses, for types whose form is known.
func (t valueType) suffix() string {
	switch {
	case t.modifier < 0:
		return ""
	case t.name == "numeric":
		precision, scale := numericOf(t.modifier)
		return fmt.Sprintf("(%d,%d)", precision, scale)
	case t.name == "varchar" || t.name == "bpchar":
		return fmt.Sprintf("(%d)", t.modifier-4)
	case t.name == "bit" || t.name == "varbit" || slices.Contains(timed, t.name):
		return fmt.Sprintf("(%d)", t.modifier)
	}
	return ""
}

// sql writes the type for a statement, quoted. A modifier of another type is
// left out, which takes more values.
func (t valueType) sql() string { return sqltext.Type(t.name) + t.suffix() }

// element is the type's name, for arrays that of their elements: user-defined
// ones are called _name beside it.
func element(typ string) string {
	schema, name, qualified := strings.Cut(typ, ".")
	if !qualified {
		return strings.TrimPrefix(typ, "_")
	}
	return schema + "." + strings.TrimPrefix(name, "_")
}
