package contract

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// sqlType is a type as SQL writes it, taken apart.
type sqlType struct {
	name  string // in the words of the standard, without its length
	args  []int  // length, or precision and scale
	array bool
}

// aliases are other names of types.
var aliases = map[string]string{
	"bool": "boolean", "int2": "smallint", "int4": "integer", "int": "integer", "int8": "bigint", "float4": "real",
	"float8": "double precision", "float": "double precision", "decimal": "numeric", "varchar": "character varying", "char": "character",
	"varbit": "bit varying", "time": "time without time zone", "timetz": "time with time zone",
	"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone",
}

// lengths is what stands in a type's brackets.
var lengths = regexp.MustCompile(`^ *-?[0-9]+ *(, *-?[0-9]+ *)?$`)

// parseType takes a type apart. Words in brackets that are no length are part of the
// name.
func parseType(text string) sqlType {
	var t sqlType
	text = strings.Join(strings.Fields(text), " ")
	for strings.HasSuffix(text, "[]") { // the server does not count dimensions
		text, t.array = strings.TrimSpace(strings.TrimSuffix(text, "[]")), true
	}
	t.name = text
	if strings.Contains(text, `"`) {
		return t
	}
	name, rest, opened := strings.Cut(strings.ToLower(text), "(")
	inside, behind, closed := strings.Cut(rest, ")")
	if opened && (!closed || !lengths.MatchString(inside)) {
		return t
	}
	for arg := range strings.SplitSeq(inside, ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(arg)); err == nil {
			t.args = append(t.args, n)
		}
	}
	name = strings.Join(strings.Fields(name+" "+behind), " ")
	if standard := aliases[name]; standard != "" {
		name = standard
	}
	if t.name = name; name == "numeric" && len(t.args) == 1 {
		t.args = append(t.args, 0)
	}
	if name == "character" && len(t.args) == 0 {
		t.args = []int{1}
	}
	return t
}

func (t sqlType) equal(o sqlType) bool {
	return t.name == o.name && t.array == o.array && slices.Equal(t.args, o.args)
}

// digits is how many digits an integer has at most.
var digits = map[string]int{"smallint": 5, "integer": 10, "bigint": 19}

func (t sqlType) number() bool {
	return !t.array && (digits[t.name] > 0 || t.name == "numeric" || t.name == "real" || t.name == "double precision")
}

// holds reports whether every value of type o is one of t, with the same text or one
// that means the same.
func (t sqlType) holds(o sqlType) bool {
	switch {
	case t.equal(o):
		return true
	case t.array != o.array:
		return false
	case digits[o.name] > 0:
		return t.holdsInteger(o)
	case t.name == "numeric" && o.name == "numeric":
		return t.holdsNumeric(o)
	case t.name == "double precision":
		return o.name == "real"
	case t.name == "text" || t.name == "character varying" && len(t.args) == 0:
		return o.name == "character varying" || o.name == "text"
	case t.name == o.name && bounded[t.name]:
		return len(t.args) == 0 || len(o.args) == 1 && len(t.args) == 1 && t.args[0] >= o.args[0]
	}
	return false
}

// bounded are types of which a longer one holds all shorter ones.
var bounded = map[string]bool{
	"character varying": true, "bit varying": true, "time without time zone": true, "time with time zone": true,
	"timestamp without time zone": true, "timestamp with time zone": true,
}

func (t sqlType) holdsInteger(o sqlType) bool {
	switch t.name {
	case "numeric":
		return len(t.args) == 0 || t.args[0]-t.args[1] >= digits[o.name] && t.args[1] >= 0
	case "double precision":
		return o.name != "bigint"
	case "real":
		return o.name == "smallint"
	}
	return digits[t.name] > digits[o.name]
}

func (t sqlType) holdsNumeric(o sqlType) bool {
	if len(t.args) == 0 {
		return true
	}
	return len(o.args) == 2 && t.args[1] >= o.args[1] && t.args[0]-t.args[1] >= o.args[0]-o.args[1]
}
