package encoding

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/avro"
	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/anyevent"
)

// TestAvroGolden pins schemas and bytes: docs/registry.md describes them.
func TestAvroGolden(t *testing.T) {
	a := NewAvro(TypedOptions{})
	var got strings.Builder
	seen := map[*entrain.Table]bool{}
	for _, e := range append(events(), stockEvents()...) {
		if e.Op == entrain.OpTruncate && len(e.Truncate.Tables) != 1 {
			continue
		}
		if e.Table != nil && !seen[e.Table] {
			seen[e.Table] = true
			value, key := a.Schemas(e.Table)
			fmt.Fprintf(&got, "%s\n%s\n%s\n%s\n", value.Name, value.Text, key.Name, key.Text)
		}
		out, err := a.Append(nil, &e)
		if err != nil {
			fmt.Fprintf(&got, "%s %v\n", e.Op, err)
			continue
		}
		fmt.Fprintf(&got, "%s %q\n", e.Op, out)
	}
	checkText(t, "testdata/avro.txt", got.String())
}

// checkText compares with a golden file, or rewrites it.
func checkText(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// oneColumn is a table of one column, and an event with this value in it.
func oneColumn(typ string, modifier int32, value string) (*entrain.Table, entrain.Event) {
	t := &entrain.Table{Schema: "s", Name: "t", Columns: []entrain.Column{{Name: "c", Type: typ, Modifier: modifier}}}
	return t, entrain.Event{Op: entrain.OpInsert, Table: t, Tx: tx(1), After: row(value)}
}

func numericModifier(precision, scale int) int32 { return int32(precision<<16|scale&0x7ff) + 4 }

// TestAvroValues: the bytes of each type, and what a reader gets of them.
func TestAvroValues(t *testing.T) {
	for _, c := range []struct {
		typ      string
		modifier int32
		text     string
		bytes    string // in hexadecimal, behind the branch of the union
		read     string // what a reader gets, if it is not the text
	}{
		{typ: "int2", text: "-1", bytes: "01"},
		{typ: "int4", text: "2147483647", bytes: "feffffff0f"},
		{typ: "int8", text: "-9223372036854775808", bytes: "ffffffffffffffffff01"},
		{typ: "oid", text: "4294967295", bytes: "feffffff1f"},
		{typ: "float4", text: "1.5", bytes: "0000c03f"},
		{typ: "float8", text: "NaN", bytes: "010000000000f87f"},
		{typ: "float8", text: "-Infinity", bytes: "000000000000f0ff"},
		{typ: "float8", text: "-0", bytes: "0000000000000080"},
		{typ: "bool", text: "t", bytes: "01"},
		{typ: "bool", text: "f", bytes: "00"},
		{typ: "bytea", text: `\x00ff`, bytes: "0400ff"},
		{typ: "bytea", text: `\x`, bytes: "00"},
		{typ: "numeric", modifier: numericModifier(5, 2), text: "-999.99", bytes: "06fe7961"},
		{typ: "numeric", modifier: numericModifier(5, 2), text: "0.00", bytes: "0200"},
		{typ: "numeric", modifier: numericModifier(5, 2), text: "1.28", bytes: "040080"},
		{typ: "numeric", modifier: numericModifier(5, 2), text: "-1.28", bytes: "0280"},
		{typ: "numeric", modifier: numericModifier(3, -2), text: "12300", bytes: "04300c"},
		{typ: "numeric", modifier: numericModifier(2, 5), text: "0.00012", bytes: "020c"},
		{typ: "numeric", modifier: -1, text: "NaN", bytes: "064e614e"},
		{typ: "numeric", modifier: numericModifier(38, 0), text: "99999999999999999999999999999999999999",
			bytes: "204b3b4ca85a86c47a098a223fffffffff"},
		{typ: "date", text: "2026-11-22", bytes: "d6c402"},
		{typ: "date", text: "0044-03-15 BC", bytes: ""},
		{typ: "date", text: "5874897-12-31", bytes: ""},
		{typ: "time", text: "23:59:59.999999", bytes: "feffbadd8305"},
		{typ: "timestamp", text: "1969-12-31 23:59:59.999999", bytes: "01"},
		{typ: "timestamp", text: "0044-03-15 12:00:00 BC", bytes: ""},
		{typ: "timestamptz", text: "2026-11-22 20:00:00.123456+00", bytes: ""},
		{typ: "timestamptz", text: "4714-11-24 00:00:00+00 BC", bytes: ""},
		{typ: "uuid", text: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", bytes: ""},
		{typ: "jsonb", text: `{"a": 1}`, bytes: "107b2261223a20317d"},
		{typ: "interval", text: "1 mon", bytes: "0a31206d6f6e"},
		{typ: "timetz", text: "12:00:00+00", bytes: ""},
		{typ: "_int4", text: "{1,NULL}", bytes: ""},
		{typ: "public.mood", text: "", bytes: "00"},
	} {
		table, e := oneColumn(c.typ, c.modifier, c.text)
		a := NewAvro(TypedOptions{})
		out, err := a.Append(nil, &e)
		if err != nil {
			t.Errorf("%s %s: %v", c.typ, c.text, err)
			continue
		}
		if got := hex.EncodeToString(out[1:]); out[0] != avroValue || c.bytes != "" && !strings.HasPrefix(got, c.bytes) {
			t.Errorf("%s %s is %02x %s, want %s", c.typ, c.text, out[0], got, c.bytes)
		}
		read := readAvro(t, a, table, out)["c"]
		if got, ok := canonical(read, c.typ, c.text); !ok {
			t.Errorf("%s %s: a reader gets %s (%T)", c.typ, c.text, got, read)
		}
	}
}

// readAvro decodes an event by the schema of its table.
func readAvro(t testing.TB, a *Avro, table *entrain.Table, b []byte) map[string]any {
	t.Helper()
	value, _ := a.Schemas(table)
	schema, err := avro.Parse(value.Text)
	if err != nil {
		t.Fatalf("%v in the schema\n%s", err, value.Text)
	}
	var got map[string]any
	rest, err := schema.Decode(b, &got)
	if err != nil || len(rest) > 0 {
		t.Fatalf("decode: %v, %d bytes left; schema\n%s", err, len(rest), value.Text)
	}
	return got
}

// canonical makes PostgreSQL's text of what a reader has got, and compares it.
func canonical(read any, typ, want string) (string, bool) {
	got := fmt.Sprint(read)
	switch v := read.(type) {
	case []byte:
		got = `\x` + hex.EncodeToString(v)
	case bool:
		got = got[:1]
	case float32:
		n, err := strconv.ParseFloat(want, 32)
		return got, err == nil && (float32(n) == v || n != n && v != v)
	case float64:
		n, err := strconv.ParseFloat(want, 64)
		return got, err == nil && (n == v && (1/n > 0) == (1/v > 0) || n != n && v != v)
	case *big.Rat:
		_, decimals, _ := strings.Cut(want, ".")
		got = v.FloatString(len(decimals))
	case time.Duration:
		got = time.Time{}.Add(v).Format("15:04:05.999999")
	case time.Time:
		got = pgTime(v.UTC(), typ)
	}
	return got, got == want
}

func pgTime(t time.Time, typ string) string {
	year, bc := t.Year(), ""
	if year <= 0 {
		year, bc = 1-year, " BC"
	}
	text := fmt.Sprintf("%04d", year) + t.Format("-01-02")
	if typ != "date" {
		text += t.Format(" 15:04:05.999999")
	}
	if typ == "timestamptz" {
		text += "+00"
	}
	return text + bc
}

// unplaced are values that Avro's forms have no place for.
var unplaced = []struct {
	typ      string
	modifier int32
	text     string
}{
	{"date", -1, "infinity"}, {"date", -1, "-infinity"}, {"timestamp", -1, "infinity"}, {"timestamptz", -1, "-infinity"},
	{"timestamp", -1, "294276-12-31 23:59:59.999999"}, {"time", -1, "24:00:00"},
	{"numeric", numericModifier(5, 2), "NaN"}, {"numeric", numericModifier(5, 2), "1000.00"}, {"numeric", numericModifier(5, 2), "1.234"},
	{"int4", -1, "2147483648"}, {"int8", -1, "9223372036854775808"}, {"bool", -1, "true"}, {"float4", -1, "1e39"},
	{"bytea", -1, `\x0`}, {"bytea", -1, "00"}, {"date", -1, "tomorrow"}, {"text", -1, "\xff"},
}

// TestAvroRefuses: a value without a place is an error that names it, and as a
// string it has one.
func TestAvroRefuses(t *testing.T) {
	for _, c := range unplaced {
		table, e := oneColumn(c.typ, c.modifier, c.text)
		_, err := NewAvro(TypedOptions{}).Append(nil, &e)
		var refused *ValueError
		if !asValueError(err, &refused) || refused.Value != c.text || refused.Column.Name != "c" {
			t.Errorf("%s %s: error %v", c.typ, c.text, err)
		}
		if c.text == "\xff" {
			continue // no string of Avro's has it either
		}
		for _, o := range []TypedOptions{{AsString: []string{c.typ}}, {AsString: []string{"s.t.c"}}} {
			a := NewAvro(o)
			out, err := a.Append(nil, &e)
			if err != nil {
				t.Errorf("%s %s as %v: %v", c.typ, c.text, o, err)
			} else if got := readAvro(t, a, table, out)["c"]; got != c.text {
				t.Errorf("%s %s as %v: a reader gets %v", c.typ, c.text, o, got)
			}
		}
	}
}

func asValueError(err error, to **ValueError) bool {
	refused, ok := err.(*ValueError)
	*to = refused
	return ok
}

// TestAvroCarriesAnything: what is written of random events can be read, and is
// what it was; what cannot be written is refused.
func TestAvroCarriesAnything(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := anyevent.NewMaker(r)
		e := m.Event(r)
		a := NewAvro(TypedOptions{})
		out, err := a.Append(nil, &e)
		if err != nil || len(out) == 0 || e.Table == nil {
			return
		}
		value, _ := a.Schemas(e.Table)
		schema, err := avro.Parse(value.Text)
		if err != nil {
			r.Fatalf("%v in the schema\n%s", err, value.Text)
		}
		var got map[string]any
		if rest, err := schema.Decode(out, &got); err != nil || len(rest) > 0 {
			r.Fatalf("decode: %v, %d bytes left; schema\n%s", err, len(rest), value.Text)
		}
		compareRow(r, &e, got)
	})
}

func compareRow(r *rapid.T, e *entrain.Event, got map[string]any) {
	image := e.After
	if e.Op == entrain.OpDelete {
		image = e.Before
	}
	unchanged := []string{}
	for i, c := range e.Table.Columns {
		value, state := image.Column(i, len(e.Table.Columns))
		read, there := got[typedName(e.Table, c.Name)]
		if state == entrain.Unchanged && e.Op != entrain.OpDelete {
			unchanged = append(unchanged, c.Name)
		}
		if !there || (state == entrain.Present) != (read != nil) {
			r.Fatalf("column %q is %v, was %v %q", c.Name, read, state, value)
		}
		if text, isText := read.(string); isText && text != string(value) {
			r.Fatalf("column %q is %q, was %q", c.Name, text, value)
		}
	}
	told := []string{}
	for _, name := range got["__unchanged"].([]any) {
		told = append(told, name.(string))
	}
	for i := range unchanged {
		unchanged[i] = string(validText([]byte(unchanged[i])))
	}
	if diff := cmp.Diff(unchanged, told); diff != "" {
		r.Fatalf("unchanged (-want +got):\n%s", diff)
	}
	if got["__id"] != string(validText([]byte(e.ID()))) || got["__op"] != e.Op.String() || got["__deleted"] != (e.Op == entrain.OpDelete) {
		r.Fatalf("metadata %v of event %s", got, e.ID())
	}
}

// TestAvroEvolves: a column that is new can be read by those that have older
// events, and the other way round, by Avro's own rules.
func TestAvroEvolves(t *testing.T) {
	a := NewAvro(TypedOptions{})
	before := &entrain.Table{Schema: "s", Name: "t", Columns: []entrain.Column{{Name: "id", Type: "int4", Key: true}, {Name: "old", Type: "text"}}}
	after := &entrain.Table{Schema: "s", Name: "t", Columns: []entrain.Column{{Name: "id", Type: "int8", Key: true}, {Name: "new", Type: "date"}}}
	for _, c := range []struct {
		name         string
		reader, from *entrain.Table
		fits         bool
	}{{"new reader", after, before, true}, {"old reader, wider key", before, after, false}} {
		writer, _ := a.Schemas(c.from)
		reader, _ := a.Schemas(c.reader)
		err := avro.CheckCompatibility(avro.MustParse(writer.Text), avro.MustParse(reader.Text))
		if (err == nil) != c.fits {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAvroAllocates(t *testing.T) {
	checkAllocations(t, NewAvro(TypedOptions{}), writable(NewAvro(TypedOptions{})))
}

// writable are the events of the golden files that a format with schemas takes.
func writable(enc Typed) []entrain.Event {
	return slices.DeleteFunc(append(events(), stockEvents()...), func(e entrain.Event) bool {
		_, err := enc.Append(nil, &e)
		return err != nil
	})
}

// TestNamesComeBack: any name is one that schemas can have, and can be had back.
func TestNamesComeBack(t *testing.T) {
	for name, want := range map[string]string{
		"id": "id", "_x": "_x005F_x", "a b": "a_x0020_b", "7up": "_x0037_up", "": "_x_", "ö": "_x00F6_", "\U0001F600": "_x01F600_", "a\xff": "a_xDCFF_",
		"x_x0020_": "x_x005F_x0020_",
	} {
		if got := EscapeName(name); got != want {
			t.Errorf("EscapeName(%q) = %q, want %q", name, got, want)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.OneOf(anyevent.Text(), rapid.StringMatching(`(_x|_|x|[0-9A-F]{4}){0,6}`)).Draw(r, "name")
		escaped := EscapeName(name)
		if got := UnescapeName(escaped); got != name {
			r.Fatalf("%q is %q, which is %q", name, escaped, got)
		}
		if strings.Trim(escaped, "_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" || escaped[0] >= '0' && escaped[0] <= '9' {
			r.Fatalf("%q of %q is no name", escaped, name)
		}
	})
}
