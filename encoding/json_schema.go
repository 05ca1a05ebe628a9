package encoding

import (
	"bytes"
	"strings"

	"github.com/entrainsync/entrain"
)

// described are the formats native and flat with a schema in the language of JSON
// Schema (draft 7): the bytes are those of the format, without the newline.
type described struct {
	enc    Encoder
	native bool
}

// Append implements [Typed].
func (d described) Append(dst []byte, e *entrain.Event) ([]byte, error) {
	if e.Op == entrain.OpTruncate && !d.native && len(e.Truncate.Tables) != 1 {
		return dst, errTruncates
	}
	start := len(dst)
	dst, err := d.enc.Append(dst, e)
	return dst[:start+len(bytes.TrimSuffix(dst[start:], []byte("\n")))], err
}

// AppendKey implements [Typed].
func (d described) AppendKey(dst []byte, t *entrain.Table, row, other entrain.Row) ([]byte, error) {
	return AppendKey(dst, t, row, other)
}

// Schemas implements [Typed].
func (d described) Schemas(t *entrain.Table) (value, key Schema) {
	if t == nil {
		return d.schema("entrain.Message", &entrain.Table{}), Schema{}
	}
	space := EscapeName(t.Schema) + "." + EscapeName(t.Name)
	value = d.schema(space+".Value", t)
	if HasKey(t) {
		keys := members(t, func(c *entrain.Column) (string, bool) { return c.Name, c.Key })
		key = jsonSchema(space+".Key", keys, true)
	}
	return value, key
}

func (d described) schema(name string, t *entrain.Table) Schema {
	if d.native {
		row := objectOf(members(t, func(c *entrain.Column) (string, bool) { return c.Name, true }), true)
		return jsonSchema(name, strings.ReplaceAll(nativeMembers, "ROW", row), false)
	}
	columns := members(t, func(c *entrain.Column) (string, bool) { return flatName(t, c.Name), true })
	list := strings.Replace(flatMembers, "ROW", objectOf(columns, true), 1)
	if columns != "" {
		list += ",\n" + columns
	}
	return jsonSchema(name, list, true)
}

// flatMembers are the keys of metadata, see docs/format.md.
const flatMembers = `"__op":{"type":"string"},
"__deleted":{"type":"boolean"},
"__schema":{"type":"string"},
"__table":{"type":"string"},
"__schema_version":{"type":"string"},
"__id":{"type":"string"},
"__version":{"type":"string"},
"__ordinal":{"type":"integer"},
"__commit_time":{"type":["string","null"]},
"__before":ROW,
"__unchanged":{"type":"array","items":{"type":"string"}},
"__prefix":{"type":"string"},
"__content":{"type":["string","object"]}`

// nativeMembers are those of the envelope that every event has, and the rows.
const nativeMembers = `"v":{"type":"integer"},
"id":{"type":"string"},
"op":{"type":"string"},
"schema":{"type":"string"},
"table":{"type":"string"},
"schema_version":{"type":"string"},
"unchanged":{"type":"array","items":{"type":"string"}},
"tx":{"type":"object"},
"before":ROW,
"after":ROW`

// members lists the columns that name gives a name, each with what its values are.
func members(t *entrain.Table, name func(c *entrain.Column) (string, bool)) string {
	var out []byte
	for i := range t.Columns {
		c := &t.Columns[i]
		key, wanted := name(c)
		if !wanted {
			continue
		}
		if len(out) > 0 {
			out = append(out, ",\n"...)
		}
		out = appendString(out, validText([]byte(key)))
		out = append(append(out, `:{"type":`...), jsonTypes(c)...)
		out = append(out, '}')
	}
	return string(out)
}

// jsonTypes are what [appendValue] makes of a column's values. Bytes that are no
// UTF-8 are an object.
func jsonTypes(c *entrain.Column) string {
	switch c.Kind {
	case entrain.Integer:
		if c.Type == "int2" || c.Type == "int4" {
			return `["integer","null"]`
		}
		return `["integer","string","null"]`
	case entrain.Float:
		return `["number","string","null"]`
	case entrain.Boolean:
		return `["boolean","null"]`
	}
	return `["string","object","null"]`
}

// objectOf is the schema of an object; closed, it has no other members: only then
// may another one come later without being taken for what was there before.
func objectOf(list string, closed closedness) string {
	if !closed {
		return `{"type":"object","properties":{` + list + `}}`
	}
	return `{"type":"object","properties":{` + list + `},"additionalProperties":false}`
}

type closedness bool

func jsonSchema(name, list string, closed closedness) Schema {
	text := objectOf("\n"+list+"\n", closed)
	return Schema{Name: name, Text: `{"$schema":"http://json-schema.org/draft-07/schema#","title":"` + name + `",` + text[1:]}
}
