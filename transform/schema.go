package transform

import (
	"slices"

	"github.com/entrainsync/entrain"
)

// schema adds what becomes of a change of a table's shape: what the rules leave
// of it, under the names that they give. One of which nothing is left is filtered.
func (t *Transform) schema(c *chunk, e *entrain.Event) error {
	p, err := t.plan(e.Table)
	if err != nil {
		return err
	}
	change := *e.Schema
	change.Before = p.rule.former(e.Schema.Before, p.target)
	change.Columns = nil
	for _, col := range e.Schema.Columns {
		col.Before, col.After = p.rule.column(col.Before), p.rule.column(col.After)
		if col, left := crossed(col); left {
			change.Columns = append(change.Columns, col)
		}
	}
	if len(change.Columns) == 0 && change.Before.Version == p.target.Version {
		c.filtered++
		return nil
	}
	out := *e
	out.Table, out.Schema = p.target, &change
	c.events = append(c.events, out)
	return nil
}

// crossed is what is left of a change of a column if the rules let one of its
// ends pass only.
func crossed(col entrain.ColumnChange) (entrain.ColumnChange, bool) {
	switch {
	case col.Before == nil && col.After == nil:
		return col, false
	case col.Before == nil && col.Kind != entrain.ColumnAdded:
		col.Kind, col.Guessed = entrain.ColumnAdded, false
	case col.After == nil && col.Kind != entrain.ColumnDropped:
		col.Kind, col.Guessed = entrain.ColumnDropped, false
	case col.Kind == entrain.ColumnRenamed && col.Before.Name == col.After.Name:
		return col, false // the rules' names hide it
	}
	return col, true
}

// column is a column behind the rule; nil if it does not go on. r may be nil.
func (r *rule) column(col *entrain.Column) *entrain.Column {
	if col == nil || r == nil {
		return col
	}
	c := &r.Columns
	if slices.Contains(c.Exclude, col.Name) || len(c.Include) > 0 && !slices.Contains(c.Include, col.Name) {
		return nil
	}
	to, renamed := c.Rename[col.Name]
	if !renamed {
		return col
	}
	out := *col
	out.Name = to
	return &out
}

// former is an earlier shape of a table behind the rule that fits its present
// one, which target is made by. The rule may name columns that it did not have.
func (r *rule) former(t, target *entrain.Table) *entrain.Table {
	if r == nil {
		return t
	}
	out := &entrain.Table{Schema: target.Schema, Name: target.Name, FullIdentity: t.FullIdentity}
	for i := range t.Columns {
		if col := r.column(&t.Columns[i]); col != nil {
			out.Columns = append(out.Columns, *col)
		}
	}
	out.Version = out.Fingerprint()
	return out
}
