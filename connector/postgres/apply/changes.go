package apply

import (
	"context"
	"log/slog"
	"slices"

	"github.com/entrainsync/entrain"
)

// shapes are the changes of tables' shapes that a session has to do with.
type shapes struct {
	// known are those that are remembered, coming those in the batch at hand.
	known, coming []entrain.Event
	// altered are those that the open transaction has made at the target: they are
	// undone if it fails.
	altered []altered
}

// altered is a change of a table of the target that is not committed yet.
type altered struct {
	event *entrain.Event
	sql   []string
}

// durable tells the log what the transaction has changed, now that it is committed.
func (s *shapes) durable(log *slog.Logger) {
	for _, a := range s.altered {
		log.Info("changed a table of the target as the source did", "table", a.event.Table.String(), "sql", a.sql, "event", a.event.ID())
	}
	s.altered = nil
}

// undone returns the SQL of what the open transaction has made of a table, and the
// columns among its key's that came by that.
func (s *shapes) undone(t *entrain.Table) (sql, keys []string) {
	for _, a := range s.altered {
		if a.event.Table.Schema != t.Schema || a.event.Table.Name != t.Name {
			continue
		}
		sql = append(sql, a.sql...)
		for i := range a.event.Schema.Columns {
			c := &a.event.Schema.Columns[i]
			isKey := func(k entrain.Column) bool { return c.Kind == entrain.ColumnAdded && k.Key && k.Name == c.After.Name }
			if slices.ContainsFunc(t.Columns, isKey) {
				keys = append(keys, c.After.Name)
			}
		}
	}
	return sql, keys
}

func changesShape(e entrain.Event) bool { return e.Op == entrain.OpSchema }

// writeChanges applies a batch in which shapes of tables change: what comes
// before a change is applied to the table as it was, what comes behind it to the
// table as it is then, all in the one transaction.
func (w *writer) writeChanges(ctx context.Context, b *entrain.Batch) error {
	w.catalog.foresee(b.Events)
	defer w.catalog.foresee(nil)
	defer w.side.forgetTables()
	rest := b.Events
	for len(rest) > 0 {
		next := 1 + slices.IndexFunc(rest[1:], changesShape)
		if next == 0 {
			next = len(rest)
		}
		part := &entrain.Batch{Events: rest[:next]}
		if rest = rest[next:]; len(rest) == 0 {
			part.Through = b.Through
		}
		if err := w.writePart(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// writePart applies a part that may begin with a change of a shape.
func (w *writer) writePart(ctx context.Context, part *entrain.Batch) error {
	if changesShape(part.Events[0]) {
		err := w.catalog.loadGraph(ctx)
		if err == nil {
			err = w.begin(ctx, &entrain.Batch{Events: part.Events}) // the position moves at the end
		}
		if err != nil {
			return err
		}
		if err := w.alter(ctx, &part.Events[0]); err != nil {
			return err
		}
	}
	return w.writeBulk(ctx, part)
}

// Foresee implements [entrain.Foreseer].
func (w *writer) Foresee(changes []entrain.Event) { w.catalog.known = changes }

// foresee notes the changes that a batch is about to make. A person may have made
// them already, so that rows of the former shape, which were rolled back when the
// pipeline stopped, find the table as it is to be.
func (c *catalog) foresee(events []entrain.Event) {
	c.coming = nil
	for _, e := range events {
		if e.Op == entrain.OpSchema {
			c.coming = append(c.coming, e)
		}
	}
}

// foreseen returns the name that a column of a table gets by the changes that
// lead away from its shape, and whether it is dropped by them; the name is empty
// if they do not touch it.
func (c *catalog) foreseen(t *entrain.Table, name string) (to string, dropped bool) {
	version := t.Version
	for _, e := range slices.Concat(c.known, c.coming) {
		if before := e.Schema.Before; before.Version != version || before.Schema != t.Schema || before.Name != t.Name {
			continue
		}
		version = e.Table.Version
		for _, col := range e.Schema.Columns {
			switch {
			case col.Before == nil || col.Before.Name != name:
			case col.Kind == entrain.ColumnRenamed:
				to = col.After.Name
			case col.Kind == entrain.ColumnDropped:
				return "", true
			}
		}
		if to != "" {
			name = to
		}
	}
	return to, false
}

// former finds the target's column for one of a former shape. A column that is
// dropped already is left out of what is written.
func (c *catalog) former(t *entrain.Table, col entrain.Column, byName map[string][]string) (row []string, omit bool) {
	to, dropped := c.foreseen(t, col.Name)
	return byName[to], dropped
}

func hasColumn(t *entrain.Table, name string) bool {
	return slices.ContainsFunc(t.Columns, func(c entrain.Column) bool { return c.Name == name })
}
