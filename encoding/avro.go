package encoding

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/entrainsync/entrain"
)

// Avro is the encoder of the format avro: one record in Avro's binary form for
// each changed row, which has what a line of the format flat has; docs/registry.md
// describes it. It is for one goroutine.
type Avro struct {
	options TypedOptions
	tables  map[*entrain.Table]*avroTable
	numbers integers
	id      []byte
}

// avroTable is what stays the same for all events of a table.
type avroTable struct {
	columns []avroColumn
	version string
	// before: the schema has a field for the old image.
	before bool
}

// avroColumn is how the values of a column are written.
type avroColumn struct {
	form  avroForm
	quote []byte // the name, as an Avro string
}

// NewAvro returns an encoder of the format avro.
func NewAvro(o TypedOptions) *Avro {
	return &Avro{options: o, tables: make(map[*entrain.Table]*avroTable)}
}

// Append implements [Typed].
func (a *Avro) Append(dst []byte, e *entrain.Event) ([]byte, error) {
	switch e.Op {
	case entrain.OpInsert, entrain.OpUpdate, entrain.OpDelete, entrain.OpRead:
		return a.appendRow(dst, e)
	case entrain.OpReadEnd, entrain.OpSchema:
		return dst, nil // every record is a row
	case entrain.OpTruncate:
		if len(e.Truncate.Tables) != 1 {
			return dst, errTruncates
		}
		t := a.table(e.Truncate.Tables[0])
		for range t.columns {
			dst = append(dst, avroNull)
		}
		dst, err := a.appendMeta(dst, e)
		return a.appendTail(dst, e, t), err
	case entrain.OpMessage:
		dst = appendAvroText(dst, []byte(e.Message.Prefix))
		dst = appendAvroBytes(dst, e.Message.Content)
		return a.appendMeta(dst, e)
	}
	return dst, fmt.Errorf("the format avro has no operation %v", e.Op)
}

// The branches of a union of null and another type.
const (
	avroNull  = 0
	avroValue = 2
)

func (a *Avro) appendRow(dst []byte, e *entrain.Event) ([]byte, error) {
	t := a.table(e.Table)
	row := e.After
	if e.Op == entrain.OpDelete {
		row = e.Before
	}
	dst, err := a.appendColumns(dst, e.Table, row)
	if err != nil {
		return dst, err
	}
	if dst, err = a.appendMeta(dst, e); err != nil {
		return dst, err
	}
	dst = a.appendTail(dst, e, t)
	if !t.before {
		return dst, nil
	}
	if e.Op == entrain.OpDelete || e.Before == nil {
		return append(dst, avroNull), nil
	}
	return a.appendColumns(append(dst, avroValue), e.Table, e.Before)
}

// appendColumns writes all columns; one that the row does not carry is null.
func (a *Avro) appendColumns(dst []byte, table *entrain.Table, row entrain.Row) ([]byte, error) {
	t, n := a.table(table), len(table.Columns)
	for i := range t.columns {
		value, state := row.Column(i, n)
		if state != entrain.Present {
			dst = append(dst, avroNull)
			continue
		}
		var ok bool
		form := t.columns[i].form
		if dst, ok = form.append(a, append(dst, avroValue), value); !ok {
			return dst, valueError(&table.Columns[i], form.name(), value)
		}
	}
	return dst, nil
}

// appendMeta writes the fields that every record has behind its columns. An ordinal
// with its highest bit set, as copied rows have it, is a negative long: the same 64
// bits, as two's complement.
func (a *Avro) appendMeta(dst []byte, e *entrain.Event) ([]byte, error) {
	if e.Tx.Version > math.MaxInt64 {
		return dst, fmt.Errorf("version %d is more than a long has", e.Tx.Version)
	}
	dst = appendAvroText(dst, []byte(e.Op.String()))
	a.id = e.AppendID(a.id[:0])
	dst = appendAvroText(dst, a.id)
	dst = binary.AppendVarint(dst, int64(e.Tx.Version))
	dst = binary.AppendVarint(dst, int64(e.Ordinal))
	if e.Tx.CommitTime.IsZero() {
		return append(dst, avroNull), nil
	}
	return binary.AppendVarint(append(dst, avroValue), e.Tx.CommitTime.UnixMicro()), nil
}

// appendTail writes the fields behind them that only records of tables have.
func (a *Avro) appendTail(dst []byte, e *entrain.Event, t *avroTable) []byte {
	deleted := byte(0)
	if e.Op == entrain.OpDelete {
		deleted = 1
	}
	dst = append(dst, deleted)
	dst = appendAvroText(dst, []byte(t.version))
	dst = t.appendUnchanged(dst, e.After)
	if e.Op == entrain.OpTruncate && t.before {
		dst = append(dst, avroNull)
	}
	return dst
}

// appendUnchanged names the columns of an after image that the log did not carry.
func (t *avroTable) appendUnchanged(dst []byte, row entrain.Row) []byte {
	n := 0
	for i := range t.columns {
		if row != nil && row.State(i) == entrain.Unchanged {
			n++
		}
	}
	if n > 0 {
		dst = binary.AppendVarint(dst, int64(n))
		for i := range t.columns {
			if row.State(i) == entrain.Unchanged {
				dst = append(dst, t.columns[i].quote...)
			}
		}
	}
	return append(dst, 0)
}

// AppendKey implements [Typed].
func (a *Avro) AppendKey(dst []byte, t *entrain.Table, row, other entrain.Row) ([]byte, error) {
	p := a.table(t)
	for i := range t.Columns {
		c := &t.Columns[i]
		if !c.Key {
			continue
		}
		value, err := keyValue(t, i, row, other)
		if err != nil {
			return dst, err
		}
		var ok bool
		if dst, ok = p.columns[i].form.append(a, dst, value); !ok {
			return dst, valueError(c, p.columns[i].form.name(), value)
		}
	}
	return dst, nil
}

// keyValue returns the value of a key column, as [AppendKey] finds it.
func keyValue(t *entrain.Table, i int, row, other entrain.Row) ([]byte, error) {
	value, state := row.Column(i, len(t.Columns))
	if state == entrain.Unchanged && other != nil {
		value, state = other.Column(i, len(t.Columns))
	}
	switch state {
	case entrain.Unchanged:
		return nil, fmt.Errorf("the log did not carry the key column %q", t.Columns[i].Name)
	case entrain.Null:
		return nil, fmt.Errorf("the key column %q is NULL", t.Columns[i].Name)
	}
	return value, nil
}

// table returns what is prepared of a table.
func (a *Avro) table(t *entrain.Table) *avroTable {
	if known := a.tables[t]; known != nil {
		return known
	}
	if len(a.tables) >= maxTables {
		clear(a.tables)
	}
	p := &avroTable{version: fmt.Sprintf("%016x", t.Version), before: t.FullIdentity}
	for i := range t.Columns {
		c := &t.Columns[i]
		p.columns = append(p.columns, avroColumn{form: a.options.avroForm(t, c), quote: appendAvroText(nil, []byte(c.Name))})
	}
	a.tables[t] = p
	return p
}

// appendAvroText writes a string; bytes that are no UTF-8 are a column's only,
// and refused there, or those of a name or message, and replaced.
func appendAvroText(dst, s []byte) []byte { return appendAvroBytes(dst, validText(s)) }

func appendAvroBytes(dst, b []byte) []byte {
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}
