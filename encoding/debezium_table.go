package encoding

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/entrainsync/entrain"
)

// debeziumTable is what stays the same for all events of a table.
type debeziumTable struct {
	table   *entrain.Table
	topic   string
	source  []byte // `"schema":"public","table":"orders",`
	columns []debeziumColumn
	absent  [][]byte // by column: what stands for a missing value of an after image
	keys    []int    // columns of the key
	count   *collection
}

type debeziumColumn struct {
	name []byte // `"id":`
	debeziumType
}

// table returns the prepared texts of a table.
func (d *Debezium) table(t *entrain.Table) (*debeziumTable, error) {
	if known := d.tables[t]; known != nil {
		return known, nil
	}
	if len(d.tables) >= maxTables {
		clear(d.tables)
	}
	p := &debeziumTable{
		table: t, topic: topicName(d.tx.prefix + "." + t.String()), count: d.collection(t.String()),
	}
	p.source = append(appendTableName(nil, t), ',')
	for _, c := range t.Columns {
		typ := d.o.typeOf(c.Type, c.Modifier)
		if typ.unknown && !d.o.IncludeUnknownDatatypes {
			typ.write = nil
		}
		name := append(appendString(nil, []byte(c.Name)), ':')
		p.columns = append(p.columns, debeziumColumn{name, typ})
		p.absent = append(p.absent, typ.absent)
	}
	var err error
	p.keys, err = d.o.keyOf(t)
	if err != nil {
		return nil, err
	}
	d.tables[t] = p
	return p, nil
}

// keyOf returns the columns of a table's key: the configured ones, else the
// replica identity unless that is the whole row.
func (o *DebeziumOptions) keyOf(t *entrain.Table) ([]int, error) {
	var keys []int
	wanted, configured := o.MessageKeyColumns[t.String()]
	for _, name := range wanted {
		i := slices.IndexFunc(t.Columns, func(c entrain.Column) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("message_key_columns: the table %s has no column %q", t, name)
		}
		keys = append(keys, i)
	}
	if configured || t.FullIdentity {
		return keys, nil
	}
	for i, c := range t.Columns {
		if c.Key {
			keys = append(keys, i)
		}
	}
	return keys, nil
}

// keyChanged reports whether an update changed the key, as far as the log
// tells.
func (t *debeziumTable) keyChanged(e *entrain.Event) bool {
	if e.Before == nil {
		return false
	}
	n := len(t.columns)
	return slices.ContainsFunc(t.keys, func(i int) bool {
		before, wasThere := e.Before.Column(i, n)
		after, isThere := e.After.Column(i, n)
		known := wasThere != entrain.Unchanged && isThere != entrain.Unchanged
		return known && (wasThere != isThere || !bytes.Equal(before, after))
	})
}

// key appends the key of an image to the buffer and returns it; nil if the
// table has none.
func (d *Debezium) key(t *debeziumTable, row entrain.Row) ([]byte, error) {
	if len(t.keys) == 0 {
		return nil, nil
	}
	start := len(d.buf)
	sep := byte('{')
	for _, i := range t.keys {
		if t.columns[i].write == nil {
			continue
		}
		d.buf = append(d.buf, sep)
		sep = ','
		d.buf = append(d.buf, t.columns[i].name...)
		var err error
		if d.buf, err = t.appendColumn(d.buf, row, i); err != nil {
			return nil, err
		}
	}
	if sep == '{' {
		d.buf = append(d.buf, '{')
	}
	d.buf = append(d.buf, '}')
	return d.since(start), nil
}

// appendImage writes the row as an object. What the log did not carry is
// written as absent says, and left out if that has nothing for the column; with
// no absent it is null, as in before images, of which only the key is known.
func (t *debeziumTable) appendImage(dst []byte, row entrain.Row, absent [][]byte) ([]byte, error) {
	if row == nil {
		return append(dst, "null"...), nil
	}
	sep := byte('{')
	for i := range t.columns {
		missing := absent != nil && row.State(i) == entrain.Unchanged
		if t.columns[i].write == nil || missing && absent[i] == nil {
			continue
		}
		dst = append(dst, sep)
		sep = ','
		dst = append(dst, t.columns[i].name...)
		if missing {
			dst = append(dst, absent[i]...)
			continue
		}
		var err error
		if dst, err = t.appendColumn(dst, row, i); err != nil {
			return dst, err
		}
	}
	if sep == '{' {
		dst = append(dst, '{')
	}
	return append(dst, '}'), nil
}

// appendColumn writes one value.
func (t *debeziumTable) appendColumn(dst []byte, row entrain.Row, i int) ([]byte, error) {
	value, state := row.Column(i, len(t.columns))
	if state != entrain.Present {
		return append(dst, "null"...), nil
	}
	dst, ok := t.columns[i].write(dst, value)
	if !ok {
		c := t.table.Columns[i]
		return dst, fmt.Errorf("column %q of %s: its value is not of the type %s as the format debezium reads it",
			c.Name, t.table, c.Type)
	}
	return dst, nil
}
