package entraintest

import (
	"fmt"
	"slices"

	"github.com/entrainsync/entrain"
)

// compare says how e differs from the change; empty if it is the change.
func (c *change) compare(e *entrain.Event) string {
	want := &c.event
	if e.Op != want.Op {
		return fmt.Sprintf("%s where %s was committed", e.Op, want.Op)
	}
	if want.Op == entrain.OpTruncate {
		return compareTruncate(e)
	}
	if problem := compareTable(e.Table); problem != "" {
		return problem
	}
	if want.Op != entrain.OpDelete {
		if problem := c.compareAfter(Cells(e.Table, e.After)); problem != "" {
			return problem
		}
	}
	return c.compareBefore(Cells(e.Table, e.Before))
}

func compareTruncate(e *entrain.Event) string {
	if e.Truncate == nil {
		return "a truncate without its details"
	}
	named := func(t *entrain.Table) bool { return t.Name == standard.Name }
	if !slices.ContainsFunc(e.Truncate.Tables, named) {
		return fmt.Sprintf("a truncate of %v, not of %s", e.Truncate.Tables, standard.Name)
	}
	return ""
}

func compareTable(t *entrain.Table) string {
	if t == nil {
		return "no table"
	}
	if t.Name != standard.Name || len(t.Columns) != len(standard.Columns) {
		return fmt.Sprintf("table %s with %d columns, want %s with %d", t, len(t.Columns), standard.Name, len(standard.Columns))
	}
	for i, col := range t.Columns {
		want := standard.Columns[i]
		if col.Name != want.Name || want.Key && !col.Key {
			return fmt.Sprintf("column %d is %q (key %v), want %q (key %v)", i, col.Name, col.Key, want.Name, want.Key)
		}
	}
	return ""
}

// compareAfter demands what the change set; a column that it left alone may
// carry the value that it has, or nothing.
func (c *change) compareAfter(got []Cell) string {
	if got == nil {
		return "no after image"
	}
	for i, want := range Cells(standard, c.event.After) {
		ok := got[i] == want
		if want == Unchanged && !ok {
			want = c.current[i]
			ok = got[i] == want
		}
		if !ok {
			return fmt.Sprintf("after image: %s is %v, want %v", standard.Columns[i].Name, got[i], want)
		}
	}
	return ""
}

// compareBefore demands the old key of deletes and key changes; all else may
// carry the old value, or nothing.
func (c *change) compareBefore(got []Cell) string {
	keyed := c.event.Before != nil
	if got == nil && keyed {
		return "no before image"
	}
	if got != nil && c.current == nil {
		return fmt.Sprintf("a before image where there was no row: %v", got)
	}
	for i, cell := range got {
		known := cell == c.current[i]
		if cell == Unchanged && !(keyed && standard.Columns[i].Key) {
			known = true
		}
		if !known {
			return fmt.Sprintf("before image: %s is %v, want %v", standard.Columns[i].Name, cell, c.current[i])
		}
	}
	return ""
}

// describe copies everything that a batch may not change before it is freed.
func describe(b *entrain.Batch) []string {
	text := []string{fmt.Sprintf("through %q %q, %d bytes", b.Through.Incarnation, b.Through.Offset, b.Bytes)}
	for i := range b.Events {
		e := &b.Events[i]
		line := fmt.Sprintf("%s %s tx %d at %s from %q: %q -> %q", e.ID(), e.Op, e.Tx.ID,
			e.Tx.CommitTime.UTC(), e.Tx.Origin, e.Before, e.After)
		if e.Truncate != nil {
			line += fmt.Sprintf(" truncate %v", *e.Truncate)
		}
		if e.Message != nil {
			line += fmt.Sprintf(" message %q %q", e.Message.Prefix, e.Message.Content)
		}
		text = append(text, line)
	}
	return text
}
