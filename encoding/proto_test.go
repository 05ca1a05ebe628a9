package encoding

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/anyevent"
)

// TestProtoGolden pins schemas and bytes: docs/registry.md describes them.
func TestProtoGolden(t *testing.T) {
	p := NewProto(TypedOptions{})
	var got strings.Builder
	seen := map[*entrain.Table]bool{}
	for _, e := range writable(p) {
		if e.Table != nil && !seen[e.Table] {
			seen[e.Table] = true
			value, key := p.Schemas(e.Table)
			fmt.Fprintf(&got, "%s\n%s\n%s\n%s\n", value.Name, value.Text, key.Name, key.Text)
		}
		out, err := p.Append(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s %q\n", e.Op, out)
	}
	checkText(t, "testdata/proto.txt", got.String())
}

// reporter is what tests and properties have in common.
type reporter interface {
	Fatalf(format string, args ...any)
	Helper()
}

// readProto decodes a message by the first one of a schema.
func readProto(t reporter, schema Schema, b []byte) protoreflect.Message {
	t.Helper()
	compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"t.proto": schema.Text}),
	})}
	files, err := compiler.Compile(context.Background(), "t.proto")
	if err != nil {
		t.Fatalf("%v in the schema\n%s", err, schema.Text)
	}
	descriptor := files[0].Messages().Get(0)
	if string(descriptor.FullName()) != schema.Name {
		t.Fatalf("the first message is %s, want %s", descriptor.FullName(), schema.Name)
	}
	m := dynamicpb.NewMessage(descriptor)
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatalf("decode %x: %v; schema\n%s", b, err, schema.Text)
	}
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		t.Fatalf("fields %x that the schema has not:\n%s", unknown, schema.Text)
	}
	return m
}

// protoText makes PostgreSQL's text of a field, and compares it.
func protoText(m protoreflect.Message, name, typ, want string) (string, bool) {
	field := m.Descriptor().Fields().ByName(protoreflect.Name(name))
	v := m.Get(field).Interface()
	at, isTime := v.(protoreflect.Message)
	if isTime {
		inner := at.Descriptor().Fields()
		v = time.Unix(at.Get(inner.ByName("seconds")).Int(), at.Get(inner.ByName("nanos")).Int()).UTC()
	}
	if raw, isBytes := v.([]byte); isBytes {
		got := `\x` + hex.EncodeToString(raw)
		return got, got == want
	}
	return canonical(v, typ, want)
}

// TestProtoValues: what a reader gets of each type, and the bytes of some.
func TestProtoValues(t *testing.T) {
	for _, c := range []struct{ typ, text, bytes string }{
		{"int2", "-1", "ffffffffffffffffff01"}, {"int4", "2147483647", "ffffffff07"}, {"int8", "-9223372036854775808", "80808080808080808001"},
		{"oid", "4294967295", "ffffffff0f"}, {"float4", "1.5", "0000c03f"}, {"float8", "NaN", "010000000000f87f"}, {"float8", "-0", "0000000000000080"},
		{"bool", "t", "01"}, {"bool", "f", "00"}, {"bytea", `\x00ff`, "0200ff"}, {"numeric", "1.50", "04312e3530"}, {"date", "infinity", "08696e66696e697479"},
		{"timestamptz", "1970-01-01 00:00:01.5+00", "08011080cab5ee01"}, {"timestamptz", "0001-01-01 00:00:00+00", ""},
		{"timestamptz", "9999-12-31 23:59:59.999999+00", ""}, {"timestamptz", "1969-12-31 23:59:59.999999+00", ""}, {"_text", "{a}", "037b617d"},
	} {
		table, e := oneColumn(c.typ, -1, c.text)
		p := NewProto(TypedOptions{})
		out, err := p.Append(nil, &e)
		if err != nil {
			t.Errorf("%s %s: %v", c.typ, c.text, err)
			continue
		}
		if got := hex.EncodeToString(out); c.bytes != "" && !strings.HasSuffix(got, c.bytes) {
			t.Errorf("%s %s is %s, want %s at its end", c.typ, c.text, got, c.bytes)
		}
		value, _ := p.Schemas(table)
		if got, ok := protoText(readProto(t, value, out), "c", c.typ, c.text); !ok {
			t.Errorf("%s %s: a reader gets %s", c.typ, c.text, got)
		}
	}
}

// TestProtoRefuses: what a Timestamp or a number has no place for is refused.
func TestProtoRefuses(t *testing.T) {
	for _, c := range [][2]string{
		{"timestamptz", "infinity"}, {"timestamptz", "10000-01-01 00:00:00+00"}, {"timestamptz", "0001-12-31 23:59:59+00 BC"},
		{"int4", "2147483648"}, {"bool", "true"}, {"float4", "1e39"}, {"bytea", "00"}, {"text", "\xff"},
	} {
		_, e := oneColumn(c[0], -1, c[1])
		var refused *ValueError
		if _, err := NewProto(TypedOptions{}).Append(nil, &e); !asValueError(err, &refused) || refused.Value != c[1] {
			t.Errorf("%s %s: error %v", c[0], c[1], err)
		}
	}
}

// TestProtoCarriesAnything: what is written of random events can be read by the
// schema, and is what it was.
func TestProtoCarriesAnything(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := anyevent.NewMaker(r)
		e := m.Event(r)
		p := NewProto(TypedOptions{})
		out, err := p.Append(nil, &e)
		if err != nil || len(out) == 0 || e.Table == nil {
			return
		}
		value, key := p.Schemas(e.Table)
		got := readProto(r, value, out)
		if HasKey(e.Table) {
			readProto(r, key, nil)
		}
		image := e.After
		if e.Op == entrain.OpDelete {
			image = e.Before
		}
		for i, c := range e.Table.Columns {
			text, state := image.Column(i, len(e.Table.Columns))
			field := got.Descriptor().Fields().ByName(protoreflect.Name(typedName(e.Table, c.Name)))
			if got.Has(field) != (state == entrain.Present) || state == entrain.Present && got.Get(field).String() != string(text) {
				r.Fatalf("column %q is %v, was %v %q", c.Name, got.Get(field), state, text)
			}
		}
	})
}

// TestProtoNumbersStay: a column has its number whatever comes, goes or moves beside
// it.
func TestProtoNumbersStay(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.String(), 2, 30, func(s string) string { return s }).Draw(r, "names")
		table := &entrain.Table{}
		for _, n := range names {
			table.Columns = append(table.Columns, entrain.Column{Name: n})
		}
		one := &entrain.Table{Columns: table.Columns[len(names)-1:]}
		numbers, alone := protoNumbers(table), protoNumbers(one)
		if numbers[len(names)-1] != alone[0] {
			r.Fatalf("%q has number %d beside others, %d alone", names[len(names)-1], numbers[len(names)-1], alone[0])
		}
		for i, n := range numbers {
			if n < protoFirst || n >= protoNumbersEnd {
				r.Fatalf("%q has number %d", names[i], n)
			}
		}
	})
}

func TestProtoAllocates(t *testing.T) {
	checkAllocations(t, NewProto(TypedOptions{}), writable(NewProto(TypedOptions{})))
}
