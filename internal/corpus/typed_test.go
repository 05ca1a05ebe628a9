package corpus

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/twmb/avro"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// refusedRow is what is seen of a row of which a format has refused a value.
func refusedRow(format string, r record) ([]seen, error) {
	id, err := strconv.Atoi(columnOf(r, 0))
	if err != nil {
		return nil, err
	}
	var all []seen
	for _, column := range []string{"v", "a"} {
		s := seen{format, cell{r.table.Name, id, column}, null, r.read}
		if column == r.refused.Column.Name {
			s.got = refused
		}
		all = append(all, s)
	}
	return all, nil
}

func columnOf(r record, i int) string {
	v, _ := r.row.Column(i, len(r.table.Columns))
	return string(v)
}

// typedReader reads records by their schemas, each of which it parses once.
type typedReader struct {
	avro  map[string]*avro.Schema
	proto map[string]protoreflect.MessageDescriptor
}

func newTypedReader() *typedReader {
	return &typedReader{avro: map[string]*avro.Schema{}, proto: map[string]protoreflect.MessageDescriptor{}}
}

// readAvro reads a record of the format avro.
func (d *typedReader) readAvro(e *ends, format string, r record) ([]seen, error) {
	if r.refused != nil {
		return refusedRow(format, r)
	}
	row, err := d.avroRow(r)
	if err != nil {
		return nil, err
	}
	k, id := e.byTable[r.table.Name], int(row["id"].(int32))
	return []seen{
		{format, cell{k.table, id, "v"}, typedText(k, row["v"]), r.read},
		{format, cell{k.table, id, "a"}, typedText(k, row["a"]), r.read},
	}, nil
}

func (d *typedReader) avroRow(r record) (row map[string]any, err error) {
	schema := d.avro[r.schema.Text]
	if schema == nil {
		if schema, err = avro.Parse(r.schema.Text); err != nil {
			return nil, err
		}
		d.avro[r.schema.Text] = schema
	}
	rest, err := schema.Decode(r.data, &row)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes behind a record", len(rest))
	}
	return row, err
}

// readProto reads a record of the format protobuf.
func (d *typedReader) readProto(e *ends, format string, r record) ([]seen, error) {
	if r.refused != nil {
		return refusedRow(format, r)
	}
	m, err := d.protoRow(r)
	if err != nil {
		return nil, err
	}
	k, id := e.byTable[r.table.Name], protoValue(m, "id")
	n, isInt := id.(int32)
	if !isInt {
		return nil, fmt.Errorf("no id: %v", id)
	}
	return []seen{
		{format, cell{k.table, int(n), "v"}, typedText(k, protoValue(m, "v")), r.read},
		{format, cell{k.table, int(n), "a"}, typedText(k, protoValue(m, "a")), r.read},
	}, nil
}

func (d *typedReader) protoRow(r record) (protoreflect.Message, error) {
	descriptor := d.proto[r.schema.Text]
	if descriptor == nil {
		compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			Accessor: protocompile.SourceAccessorFromMap(map[string]string{"t.proto": r.schema.Text}),
		})}
		files, err := compiler.Compile(context.Background(), "t.proto")
		if err != nil {
			return nil, err
		}
		descriptor = files[0].Messages().Get(0)
		d.proto[r.schema.Text] = descriptor
	}
	m := dynamicpb.NewMessage(descriptor)
	err := proto.Unmarshal(r.data, m)
	if unknown := m.GetUnknown(); err == nil && len(unknown) > 0 {
		err = fmt.Errorf("fields %x that the schema does not have", unknown)
	}
	return m, err
}

// protoValue is a field's value, nil if it is not there.
func protoValue(m protoreflect.Message, name string) any {
	field := m.Descriptor().Fields().ByName(protoreflect.Name(name))
	if field == nil || !m.Has(field) {
		return nil
	}
	v := m.Get(field).Interface()
	if at, isMessage := v.(protoreflect.Message); isMessage {
		inner := at.Descriptor().Fields()
		return time.Unix(at.Get(inner.ByName("seconds")).Int(), at.Get(inner.ByName("nanos")).Int())
	}
	return v
}

// typedText is the text of a value of Avro or Protobuf.
func typedText(k *kind, v any) any {
	switch v := v.(type) {
	case nil:
		return null
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)[:1]
	case int32:
		return strconv.Itoa(int(v))
	case int64:
		return strconv.FormatInt(v, 10)
	case float32:
		return floatText(float64(v), 32)
	case float64:
		return floatText(v, 64)
	case []byte:
		return `\x` + hex.EncodeToString(v)
	case *big.Rat:
		return v.FloatString(max(0, k.numbers()[1]))
	case time.Duration:
		return clockText(v.Microseconds())
	case time.Time:
		return typedMoment(k, v)
	}
	return fmt.Errorf("a value that no form has: %v (%[1]T)", v)
}

func typedMoment(k *kind, at time.Time) string {
	switch {
	case k.base() == "date":
		day, era := yearsText(at.UTC())
		return day + era
	case strings.Contains(k.base(), "z"): // with time zone, timestamptz
		return momentText(at, "+00")
	}
	return momentText(at, "")
}
