package transform

import (
	"errors"
	"reflect"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// decimalType is the type of exact numbers in expressions. They are compared
// digit by digit, so that none is lost.
var decimalType = types.NewOpaqueType("decimal").WithTraits(traits.ComparerType)

// decimal is the canonical text of an exact number, taken apart: NaN and the
// infinities have only a rank.
type decimal struct {
	rank     int8   // -1 below, 0 a finite number, 1 above all of them, 2 not a number: the order in PostgreSQL
	negative bool   // never for zero
	whole    string // no leading zeros; "" is 0
	fraction string // no trailing zeros
	text     string
}

var errNoDecimal = errors.New("not a decimal number")

// parseDecimal reads an optional sign, digits and a fraction, or NaN or an
// infinity. There is no exponent.
func parseDecimal(text string) (decimal, error) {
	switch text {
	case "NaN":
		return decimal{rank: 2, text: text}, nil
	case "Infinity":
		return decimal{rank: 1, text: text}, nil
	case "-Infinity":
		return decimal{rank: -1, text: text}, nil
	}
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole+fraction == "" || strings.Trim(whole, "0123456789") != "" || strings.Trim(fraction, "0123456789") != "" {
		return decimal{}, errNoDecimal
	}
	d := decimal{whole: strings.TrimLeft(whole, "0"), fraction: strings.TrimRight(fraction, "0"), text: text}
	d.negative = negative && d.whole+d.fraction != ""
	return d, nil
}

// compare returns -1, 0 or 1.
func (d decimal) compare(o decimal) int {
	switch {
	case d.rank != 0 || o.rank != 0:
		return sign(int(d.rank) - int(o.rank))
	case d.negative != o.negative:
		if d.negative {
			return -1
		}
		return 1
	}
	order := sign(len(d.whole) - len(o.whole))
	if order == 0 {
		order = strings.Compare(d.whole, o.whole)
	}
	if order == 0 {
		order = strings.Compare(d.fraction, o.fraction)
	}
	if d.negative {
		return -order
	}
	return order
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// decimalOf makes a decimal of a value that stands beside one. A double is
// taken as its shortest decimal form.
func decimalOf(v ref.Val) (decimal, bool) {
	switch v := v.(type) {
	case decimal:
		return v, true
	case types.Int:
		d, err := parseDecimal(strconv.FormatInt(int64(v), 10))
		return d, err == nil
	case types.Double:
		text := strings.TrimPrefix(strconv.FormatFloat(float64(v), 'f', -1, 64), "+") // of +Inf
		d, err := parseDecimal(strings.Replace(text, "Inf", "Infinity", 1))
		return d, err == nil
	case types.String:
		d, err := parseDecimal(string(v))
		return d, err == nil
	}
	return decimal{}, false
}

// ConvertToNative returns the text for strings.
func (d decimal) ConvertToNative(t reflect.Type) (any, error) {
	if t.Kind() == reflect.String {
		return d.text, nil
	}
	return nil, errNoDecimal
}

// ConvertToType makes a string or a double of it.
func (d decimal) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.StringType:
		return types.String(d.text)
	case types.DoubleType:
		f, err := strconv.ParseFloat(d.text, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return types.WrapErr(errNoDecimal)
		}
		return types.Double(f)
	}
	return types.NewErr("no conversion of a decimal to %s", t.TypeName())
}

// Equal compares numbers, not texts: 1.0 is 1.00.
func (d decimal) Equal(other ref.Val) ref.Val {
	o, ok := decimalOf(other)
	return types.Bool(ok && d.compare(o) == 0)
}

// Compare orders as PostgreSQL does: NaN is equal to itself and above all.
func (d decimal) Compare(other ref.Val) ref.Val {
	o, ok := decimalOf(other)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Int(d.compare(o))
}

// Type returns the type as values have it.
func (d decimal) Type() ref.Type { return decimalType }

// Value returns the text.
func (d decimal) Value() any { return d.text }

// decimalFunctions are what expressions can do with decimals.
func decimalFunctions() []cel.EnvOption {
	exact := func(v ref.Val) ref.Val {
		d, ok := decimalOf(v)
		if !ok {
			return types.WrapErr(errNoDecimal)
		}
		return d
	}
	options := []cel.EnvOption{
		cel.Function("decimal",
			cel.Overload("string_to_decimal", []*cel.Type{cel.StringType}, decimalType, cel.UnaryBinding(exact)),
			cel.Overload("int_to_decimal", []*cel.Type{cel.IntType}, decimalType, cel.UnaryBinding(exact)),
			cel.Overload("double_to_decimal", []*cel.Type{cel.DoubleType}, decimalType, cel.UnaryBinding(exact))),
		cel.Function("double", cel.Overload("decimal_to_double", []*cel.Type{decimalType}, cel.DoubleType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return v.ConvertToType(types.DoubleType) }))),
		cel.Function("string", cel.Overload("decimal_to_string", []*cel.Type{decimalType}, cel.StringType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return v.ConvertToType(types.StringType) }))),
	}
	for name, op := range map[string]string{
		"less": operators.Less, "less_equals": operators.LessEquals,
		"greater": operators.Greater, "greater_equals": operators.GreaterEquals,
	} {
		options = append(options, cel.Function(op,
			cel.Overload(name+"_decimal", []*cel.Type{decimalType, decimalType}, cel.BoolType),
			cel.Overload(name+"_decimal_int", []*cel.Type{decimalType, cel.IntType}, cel.BoolType),
			cel.Overload(name+"_decimal_double", []*cel.Type{decimalType, cel.DoubleType}, cel.BoolType)))
	}
	return options
}
