package encoding

import (
	"errors"
	"fmt"
	"slices"

	"github.com/entrainsync/entrain"
)

// Schema is the description that readers of an encoding need.
type Schema struct {
	// Name is the full name of what it describes (record, message, title).
	Name string
	// Text is the schema in its own language.
	Text string
}

// Typed is an encoder whose readers need a schema of each table. Like an
// [Encoder] it is for one goroutine.
type Typed interface {
	// Append is that of [Encoder]. A [*ValueError] says that a value has no place in
	// the schema. A truncate must be of one table; an event that the format does not
	// have is nothing.
	Append(dst []byte, e *entrain.Event) ([]byte, error)
	// AppendKey appends the key of a row of a table that [HasKey]; see
	// [encoding.AppendKey] for row, other and errors.
	AppendKey(dst []byte, t *entrain.Table, row, other entrain.Row) ([]byte, error)
	// Schemas returns the schemas of a table's events and keys; a table without a
	// key has no second one. Those of events without a table are had by nil. It is
	// pure: equal shapes have equal schemas in every process.
	Schemas(t *entrain.Table) (value, key Schema)
}

// TypedOptions are the settings of formats with schemas.
type TypedOptions struct {
	// AsString names types ("date") and columns ("public.orders.due") whose values
	// are strings in the schema, whatever the type's own form is.
	AsString []string
}

// NewTyped returns an encoder with schemas for a format by name: "avro" and
// "protobuf" are binary forms of the format flat, docs/registry.md describes them;
// "native" and "flat" have JSON Schema.
func NewTyped(format string, o TypedOptions) (Typed, error) {
	switch format {
	case "avro":
		return NewAvro(o), nil
	case "protobuf":
		return NewProto(o), nil
	case "native":
		return described{enc: NewNative(), native: true}, nil
	case "flat":
		return described{enc: NewFlat()}, nil
	}
	return nil, fmt.Errorf("unknown format %q with schemas, known: avro, protobuf, native, flat", format)
}

// ValueError says that a value has no place in the schema of its table.
type ValueError struct {
	// Column has the value, Form is what the schema says of it: "date".
	Column entrain.Column
	Form   string
	// Value is its canonical text, cut if it is long.
	Value string
}

// Error names the column, the value and the form.
func (e *ValueError) Error() string {
	return fmt.Sprintf("the value %q of column %q (%s) has no place in the form %s", e.Value, e.Column.Name, e.Column.Type, e.Form)
}

const shownValue = 80

func valueError(c *entrain.Column, form string, value []byte) error {
	if len(value) > shownValue {
		value = value[:shownValue]
	}
	return &ValueError{Column: *c, Form: form, Value: string(value)}
}

var errTruncates = errors.New("a truncate of several tables is no single record")

// isString reports whether options say that a column's values are strings.
func (o *TypedOptions) isString(t *entrain.Table, c *entrain.Column) bool {
	return slices.Contains(o.AsString, c.Type) || slices.Contains(o.AsString, t.Schema+"."+t.Name+"."+c.Name)
}

// typedName is the name of a column in a schema: the flat format's, escaped.
func typedName(t *entrain.Table, column string) string { return EscapeName(flatName(t, column)) }
