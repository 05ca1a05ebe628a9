package apply

import (
	"slices"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// wider lists, for a type, the types that take each of its values in the same
// text. Numbers into numeric are among them, floats into another are not.
var wider = map[string][]string{
	"int2":    {"int4", "int8", "numeric"},
	"int4":    {"int8", "numeric"},
	"int8":    {"numeric"},
	"varchar": {"text"},
	"name":    {"text"},
	"cidr":    {"inet"},
	"bit":     {"varbit"},
}

// widens reports whether each value of the type from is one of the type to, with
// the same text, so that what rows have does not change.
func widens(from, to entrain.Column) bool {
	if from.Type != to.Type {
		if !slices.Contains(wider[from.Type], to.Type) {
			return false
		}
		switch to.Type {
		case "numeric":
			return holdsIntegers(from.Type, to.Modifier)
		case "varbit":
			return to.Modifier < 0 || from.Modifier >= 0 && to.Modifier >= from.Modifier
		}
		return to.Modifier < 0
	}
	switch from.Type {
	case "numeric":
		return widerNumeric(from.Modifier, to.Modifier)
	case "varchar", "varbit", "time", "timetz", "timestamp", "timestamptz":
		return to.Modifier < 0 || from.Modifier >= 0 && to.Modifier >= from.Modifier
	}
	return from.Modifier == to.Modifier
}

// widerNumeric: as many digits before the point, and the same behind it: with
// another scale the texts of all values change.
func widerNumeric(from, to int32) bool {
	if to < 0 {
		return true
	}
	if from < 0 {
		return false
	}
	p, s := sqltext.NumericParts(from)
	q, u := sqltext.NumericParts(to)
	return s == u && q >= p
}

// integerDigits are the most digits of an integer of the type.
var integerDigits = map[string]int32{"int2": 5, "int4": 10, "int8": 19}

func holdsIntegers(typ string, modifier int32) bool {
	if modifier < 0 {
		return true
	}
	p, s := sqltext.NumericParts(modifier)
	return s == 0 && p >= integerDigits[typ]
}
