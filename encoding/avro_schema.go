package encoding

import (
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
)

// avroMeta are the fields that every record has behind its columns.
const avroMeta = `{"name":"__op","type":"string"},
{"name":"__id","type":"string"},
{"name":"__version","type":"long"},
{"name":"__ordinal","type":"long"},
{"name":"__commit_time","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null}`

// avroTail are those behind them that only records of tables have.
const avroTail = `,
{"name":"__deleted","type":"boolean"},
{"name":"__schema_version","type":"string"},
{"name":"__unchanged","type":{"type":"array","items":"string"},"default":[]}`

// avroMessage is the schema of events without a table.
const avroMessage = `{"type":"record","name":"Message","namespace":"entrain","fields":[
{"name":"__prefix","type":"string"},
{"name":"__content","type":"bytes"},
` + avroMeta + `
]}`

// Schemas implements [Typed].
func (a *Avro) Schemas(t *entrain.Table) (value, key Schema) {
	if t == nil {
		return Schema{Name: "entrain.Message", Text: avroMessage}, Schema{}
	}
	space := EscapeName(t.Schema) + "." + EscapeName(t.Name)
	value = Schema{Name: space + ".Value", Text: a.options.avroValue(t, space)}
	if HasKey(t) {
		key = Schema{Name: space + ".Key", Text: a.options.avroKey(t, space)}
	}
	return value, key
}

// avroValue is the schema of a table's events. Every column can be null: of a
// deleted row the log has the key only, and a column that is new must have a
// default for older events.
func (o *TypedOptions) avroValue(t *entrain.Table, space string) string {
	var out strings.Builder
	openAvro(&out, "Value", space)
	for i := range t.Columns {
		o.avroColumn(&out, t, i)
	}
	out.WriteString(avroMeta + avroTail)
	if t.FullIdentity {
		out.WriteString(",\n{\"name\":\"__before\",\"type\":[\"null\",")
		openAvro(&out, "Before", space)
		for i := range t.Columns {
			o.avroColumn(&out, t, i)
		}
		closeAvro(&out)
		out.WriteString("],\"default\":null}")
	}
	out.WriteString("\n]}")
	return out.String()
}

func openAvro(out *strings.Builder, name, space string) {
	fmt.Fprintf(out, "{\"type\":\"record\",\"name\":%q,\"namespace\":%q,\"fields\":[\n", name, space)
}

// closeAvro ends a list of columns, whose last one has a comma.
func closeAvro(out *strings.Builder) {
	text := strings.TrimSuffix(out.String(), ",\n")
	out.Reset()
	out.WriteString(text + "\n]}")
}

func (o *TypedOptions) avroColumn(out *strings.Builder, t *entrain.Table, i int) {
	c := &t.Columns[i]
	fmt.Fprintf(out, "{\"name\":%q,\"type\":[\"null\",%s],\"default\":null%s},\n", typedName(t, c.Name), o.avroForm(t, c).schema(), avroOriginal(t, c))
}

// avroOriginal tells a column's own name, if it could not be the field's.
func avroOriginal(t *entrain.Table, c *entrain.Column) string {
	if typedName(t, c.Name) == c.Name {
		return ""
	}
	return `,"entrain.column":` + string(appendString(nil, validText([]byte(c.Name))))
}

// avroKey is the schema of a table's keys, which have no NULL.
func (o *TypedOptions) avroKey(t *entrain.Table, space string) string {
	var out strings.Builder
	openAvro(&out, "Key", space)
	for i := range t.Columns {
		if c := &t.Columns[i]; c.Key {
			fmt.Fprintf(&out, "{\"name\":%q,\"type\":%s%s},\n", typedName(t, c.Name), o.avroForm(t, c).schema(), avroOriginal(t, c))
		}
	}
	closeAvro(&out)
	return out.String()
}
