package entraintest

import (
	"fmt"
	"strconv"

	"github.com/entrainsync/entrain"
)

// Cell is one column of a row as tests write it: a text, [Null] or
// [Unchanged]. Cells may be compared with ==.
type Cell struct {
	// State says whether there is a Text.
	State entrain.State
	// Text is the value in canonical form; empty unless State is
	// [entrain.Present].
	Text string
}

// The cells without a value.
var (
	Null      = Cell{State: entrain.Null}
	Unchanged = Cell{State: entrain.Unchanged}
)

// Text returns a cell with a value, which may be empty.
func Text(s string) Cell { return Cell{Text: s} }

// String returns the cell for people: a quoted value, shortened in the middle
// when it is long, NULL or unchanged.
func (c Cell) String() string {
	switch c.State {
	case entrain.Null:
		return "NULL"
	case entrain.Unchanged:
		return "unchanged"
	}
	if n := len(c.Text); n > 40 {
		return fmt.Sprintf("%q…(%d bytes)…%q", c.Text[:16], n, c.Text[n-8:])
	}
	return strconv.Quote(c.Text)
}

// Row builds a row of the table. It panics unless there is one cell for each
// column.
func Row(table *entrain.Table, cells ...Cell) entrain.Row {
	if len(cells) != len(table.Columns) {
		panic(fmt.Sprintf("entraintest: %d cells for the %d columns of %s",
			len(cells), len(table.Columns), table))
	}
	var b entrain.RowBuilder
	b.Begin(nil, len(cells))
	for _, c := range cells {
		switch c.State {
		case entrain.Null:
			b.Null()
		case entrain.Unchanged:
			b.Unchanged()
		default:
			b.Value([]byte(c.Text))
		}
	}
	row, _ := b.End()
	return row
}

// Cells copies a row of the table out of its batch; nil if there is no row.
func Cells(table *entrain.Table, row entrain.Row) []Cell {
	if len(row) == 0 {
		return nil
	}
	cells := make([]Cell, len(table.Columns))
	for i := range cells {
		value, state := row.Column(i, len(cells))
		cells[i] = Cell{State: state, Text: string(value)}
	}
	return cells
}

// Insert returns the event of a new row. Like the other events built here it
// has no transaction yet: [MemorySource.Commit] gives it one.
func Insert(table *entrain.Table, cells ...Cell) entrain.Event {
	return entrain.Event{Op: entrain.OpInsert, Table: table, After: Row(table, cells...)}
}

// Update returns the event of a changed row whose key stays.
func Update(table *entrain.Table, cells ...Cell) entrain.Event {
	return entrain.Event{Op: entrain.OpUpdate, Table: table, After: Row(table, cells...)}
}

// Rekey returns the event of a row whose key changes. key holds the old key's
// cells, in the order of the columns.
func Rekey(table *entrain.Table, key []string, cells ...Cell) entrain.Event {
	e := Update(table, cells...)
	e.Before = keyRow(table, key)
	return e
}

// Delete returns the event of a removed row, of which the log carried the key.
func Delete(table *entrain.Table, key ...string) entrain.Event {
	return entrain.Event{Op: entrain.OpDelete, Table: table, Before: keyRow(table, key)}
}

// Truncate returns the event that empties the tables.
func Truncate(tables ...*entrain.Table) entrain.Event {
	return entrain.Event{Op: entrain.OpTruncate, Truncate: &entrain.Truncate{Tables: tables}}
}

// Message returns the event of a transactional message.
func Message(prefix, content string) entrain.Event {
	return entrain.Event{Op: entrain.OpMessage, Message: &entrain.Message{
		Prefix: prefix, Content: []byte(content), Transactional: true,
	}}
}

// keyRow builds a before image that has the key only.
func keyRow(table *entrain.Table, key []string) entrain.Row {
	cells := make([]Cell, len(table.Columns))
	for i, c := range table.Columns {
		cells[i] = Unchanged
		if c.Key && len(key) > 0 {
			cells[i], key = Text(key[0]), key[1:]
		}
	}
	return Row(table, cells...)
}

// cloneEvent copies an event and the rows and details it points to, but not
// its table and transaction.
func cloneEvent(e entrain.Event) entrain.Event {
	e.Before = append(entrain.Row(nil), e.Before...)
	e.After = append(entrain.Row(nil), e.After...)
	if e.Truncate != nil {
		t := *e.Truncate
		t.Tables = append([]*entrain.Table(nil), t.Tables...)
		e.Truncate = &t
	}
	if e.Message != nil {
		m := *e.Message
		m.Content = append([]byte(nil), m.Content...)
		e.Message = &m
	}
	return e
}

// scribble overwrites an event and everything that it may not share with
// later batches. Whoever still looks at it, sees that.
func scribble(e *entrain.Event) {
	for _, row := range []entrain.Row{e.Before, e.After} {
		for i := range row {
			row[i] = 0xA5
		}
	}
	if e.Truncate != nil {
		clear(e.Truncate.Tables)
	}
	if e.Message != nil {
		clear(e.Message.Content)
	}
	if e.Tx != nil {
		*e.Tx = entrain.Transaction{}
	}
	*e = entrain.Event{}
}
