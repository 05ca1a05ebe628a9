package corpus

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// readDebezium reads a record of the format debezium: of its default settings, or of
// those in debeziumText.
func readDebezium(e *ends, format string, r record) (all []seen, err error) {
	var line struct {
		Value struct {
			Op     string
			After  map[string]any
			Source struct{ Table string }
		}
	}
	if err := decode(r.data, &line); err != nil || line.Value.After == nil {
		return nil, err
	}
	table, after := line.Value.Source.Table, line.Value.After
	k := e.byTable[table]
	id, err := idOf(after["id"])
	if err != nil || k == nil {
		return nil, fmt.Errorf("table %q: %w", table, err)
	}
	d := dbz{kind: k, asText: format == inDebezium[1]}
	for _, column := range []string{"v", "a"} {
		s := seen{format, cell{table, id, column}, absent, line.Value.Op == "r"}
		if v, there := after[column]; there {
			d.domain = column == "a" && k.as != ""
			s.got = d.read(v)
		}
		all = append(all, s)
	}
	return all, nil
}

// dbz reads values of a type; asText says which settings they were written with.
type dbz struct {
	*kind
	asText bool
	domain bool // elements of a domain are texts
}

// read returns text, state, list; an error for what the documents do not have.
func (d dbz) read(v any) any {
	switch v := v.(type) {
	case nil:
		return null
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = d.read(v[i])
		}
		return list
	}
	text, err := d.scalar(v)
	if err != nil {
		return fmt.Errorf("%v of type %s: %w", v, d.base(), err)
	}
	return text
}

func (d dbz) scalar(v any) (string, error) {
	if d.domain {
		return asString(v)
	}
	switch d.word() {
	case "boolean":
		b, err := as[bool](v)
		return strconv.FormatBool(b)[:1], err
	case "smallint", "integer", "bigint", "oid":
		return asNumber(v)
	case "real":
		return asFloat(v, 32)
	case "double precision":
		return asFloat(v, 64)
	case "numeric", "money":
		return d.decimal(v)
	case "date", "time", "time with time zone", "timetz", "timestamp", "timestamp with time zone", "timestamptz":
		return d.moment(v)
	case "interval", "interval year to month", "interval day to second":
		return d.interval(v)
	case "bytea":
		raw, err := d.binary(v)
		return `\x` + hex.EncodeToString(raw), err
	case "bit", "bit varying":
		return d.bits(v)
	case "point":
		return asPoint(v)
	case "ext.hstore":
		return d.hstore(v)
	}
	if d.unknown() {
		raw, err := d.binary(v)
		return string(raw), err
	}
	return asString(v)
}

var errForm = errors.New("no such form")

// as is a value that has to be of a type of JSON's.
func as[T any](v any) (T, error) {
	t, is := v.(T)
	if !is {
		return t, errForm
	}
	return t, nil
}

func asString(v any) (string, error) { return as[string](v) }

func asNumber(v any) (string, error) {
	n, err := as[json.Number](v)
	return n.String(), err
}

func asFloat(v any, bits int) (string, error) {
	if s, isString := v.(string); isString {
		if s != "NaN" && s != "Infinity" && s != "-Infinity" {
			return s, errForm
		}
		return s, nil
	}
	text, err := asNumber(v)
	if err != nil {
		return "", err
	}
	f, err := strconv.ParseFloat(text, bits)
	return floatText(f, bits), err
}

// unknown reports that Debezium leaves the type out unless it is told not to.
func (d dbz) unknown() bool {
	return slices.ContainsFunc(rules, func(r rule) bool { return r.gets == absent && r.matches(d.kind) })
}

func (d dbz) binary(v any) ([]byte, error) {
	s, err := asString(v)
	if err != nil {
		return nil, err
	}
	if d.asText {
		return hex.DecodeString(s)
	}
	return base64.StdEncoding.DecodeString(s)
}

// decimal reads the unscaled number, with its scale if the type has none.
func (d dbz) decimal(v any) (string, error) {
	if d.asText {
		special := map[string]string{"NAN": "NaN", "POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity"}
		s, err := asString(v)
		if name, isSpecial := special[s]; isSpecial {
			return name, nil
		}
		return s, err
	}
	scale := 2
	if object, isObject := v.(map[string]any); isObject {
		text, err := asNumber(object["scale"])
		if err != nil {
			return "", err
		}
		if scale, err = strconv.Atoi(text); err != nil {
			return "", err
		}
		v = object["value"]
	} else if n := d.numbers(); len(n) == 2 {
		scale = n[1]
	}
	raw, err := d.binary(v)
	if err != nil || len(raw) == 0 {
		return "", errForm
	}
	n := new(big.Int).SetBytes(raw)
	if raw[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	return decimalText(n, scale), nil
}

func decimalText(n *big.Int, scale int) string {
	if scale < 0 {
		n.Mul(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-scale)), nil))
		scale = 0
	}
	return new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)).FloatString(scale)
}

// The numbers that stand for infinity.
const (
	endlessDay, beginlessDay       = -2147472692, -2147472691
	endlessMillis, beginlessMillis = 9223372036825200, -9223372036832400
)

func (d dbz) moment(v any) (string, error) {
	if d.asText || strings.Contains(d.base(), "z") { // with time zone, timetz, timestamptz
		return d.iso(v)
	}
	text, err := asNumber(v)
	if err != nil {
		return "", err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return "", err
	}
	unit := int64(1)
	if digits := d.numbers(); len(digits) == 1 && digits[0] <= 3 {
		unit = 1000
	}
	switch {
	case d.base() == "date" && n == endlessDay, d.word() == "timestamp" && n == endlessMillis*1000/unit:
		return "infinity", nil
	case d.base() == "date" && n == beginlessDay, d.word() == "timestamp" && n == beginlessMillis*1000/unit:
		return "-infinity", nil
	case d.base() == "date":
		return dateText(n), nil
	case d.word() == "time":
		return clockText(n * unit), nil
	case unit == 1000:
		return momentText(time.UnixMilli(n), ""), nil
	}
	return momentText(time.UnixMicro(n), ""), nil
}

// iso reads the text forms.
func (d dbz) iso(v any) (string, error) {
	s, err := asString(v)
	if err != nil || s == "infinity" || s == "-infinity" {
		return s, err
	}
	clock, isZulu := strings.CutSuffix(s, "Z")
	if !isZulu {
		return "", errForm
	}
	if strings.HasPrefix(d.word(), "time") && !strings.HasPrefix(d.word(), "timestamp") {
		return trimZeros(clock), nil
	}
	at, err := momentOf(s)
	switch {
	case err != nil:
		return "", err
	case d.base() == "date" && at.Equal(time.Unix(endlessDay*86400, 0)), d.word() == "timestamp" && at.Equal(time.UnixMilli(endlessMillis)):
		return "infinity", nil
	case d.base() == "date" && at.Equal(time.Unix(beginlessDay*86400, 0)), d.word() == "timestamp" && at.Equal(time.UnixMilli(beginlessMillis)):
		return "-infinity", nil
	case d.base() == "date":
		day, era := yearsText(at)
		return day + era, nil
	case d.word() == "timestamp":
		return momentText(at, ""), nil
	}
	return momentText(at, "+00"), nil
}

func trimZeros(clock string) string {
	if strings.Contains(clock, ".") {
		return strings.TrimRight(strings.TrimRight(clock, "0"), ".")
	}
	return clock
}

// interval reads microseconds; or the text with its six parts, and prints it as
// PostgreSQL does.
func (d dbz) interval(v any) (string, error) {
	if !d.asText {
		return asNumber(v)
	}
	s, err := asString(v)
	if err != nil || s == "infinity" || s == "-infinity" {
		return s, err
	}
	var years, months, days, hours, minutes int64
	var seconds string
	if _, err := fmt.Sscanf(strings.TrimSuffix(s, "S"), "P%dY%dM%dDT%dH%dM%s", &years, &months, &days, &hours, &minutes, &seconds); err != nil {
		return "", err
	}
	rest, isRat := new(big.Rat).SetString(seconds)
	if !isRat || !rest.Mul(rest, big.NewRat(1e6, 1)).IsInt() {
		return "", errForm
	}
	total := new(big.Int).Add(rest.Num(), new(big.Int).Mul(big.NewInt(hours*60+minutes), big.NewInt(60_000_000)))
	if !total.IsInt64() {
		return "", errForm
	}
	return intervalText([3]int64{years, months, days}, total.Int64()), nil
}

// intervalText prints years, months, days and a time: a part that is positive behind a
// negative one has its sign.
func intervalText(parts [3]int64, micros int64) string {
	var out []string
	negative := false
	sign := func(n int64) string {
		if negative && n > 0 {
			return "+"
		}
		return ""
	}
	for i, unit := range []string{"year", "mon", "day"} {
		n := parts[i]
		if n == 0 {
			continue
		}
		plural := "s"
		if n == 1 {
			plural = ""
		}
		out = append(out, fmt.Sprintf("%s%d %s%s", sign(n), n, unit, plural))
		negative = n < 0
	}
	if micros != 0 || out == nil {
		clock := sign(micros) + clockText(micros)
		if micros < 0 {
			clock = "-" + clockText(-micros)
		}
		out = append(out, clock)
	}
	return strings.Join(out, " ")
}

// bits reads a truth, or little-endian bytes, whose number of bits the type tells.
func (d dbz) bits(v any) (string, error) {
	if d.base() == "bit" {
		one, err := as[bool](v)
		return map[bool]string{true: "1", false: "0"}[one], err
	}
	s, err := asString(v)
	if err != nil {
		return "", err
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	slices.Reverse(raw)
	text := new(big.Int).SetBytes(raw).Text(2)
	if len(raw) == 0 {
		text = ""
	}
	if n := d.numbers(); d.word() == "bit" {
		text = strings.Repeat("0", n[0]-len(text)) + text
	}
	return text, err
}

// asPoint reads the coordinates, which the binary form has to repeat.
func asPoint(v any) (string, error) {
	object, err := as[map[string]any](v)
	x, err1 := asFloat(object["x"], 64)
	y, err2 := asFloat(object["y"], 64)
	wkb, err3 := asString(object["wkb"])
	raw, err4 := base64.StdEncoding.DecodeString(wkb)
	if err := errors.Join(err, err1, err2, err3, err4); err != nil || len(raw) != 21 {
		return "", errors.Join(err, errForm)
	}
	coordinate := func(at int) string {
		return floatText(math.Float64frombits(binary.LittleEndian.Uint64(raw[at:])), 64)
	}
	if coordinate(5) != x || coordinate(13) != y {
		return "", errForm
	}
	return "(" + x + "," + y + ")", nil
}

// hstore reads the object, or a text that holds it, and prints it in the type's order: by
// the length of keys, then by their bytes.
func (d dbz) hstore(v any) (string, error) {
	object, err := as[map[string]any](v)
	if !d.asText {
		var s string
		if s, err = asString(v); err == nil {
			err = decode([]byte(s), &object)
		}
	}
	if err != nil {
		return "", err
	}
	keys := slices.SortedFunc(maps.Keys(object), func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var pairs []string
	for _, key := range keys {
		value := "NULL"
		if s, isString := object[key].(string); isString {
			value = `"` + escape.Replace(s) + `"`
		}
		pairs = append(pairs, `"`+escape.Replace(key)+`"=>`+value)
	}
	return strings.Join(pairs, ", "), nil
}
