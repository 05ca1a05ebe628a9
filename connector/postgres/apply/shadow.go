package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// A double (entrain.Table.Shadow) is a table of its own in the schema entrain,
// which is named for the oid of the table that it stands beside: no two tables
// share one, and a table that is made anew has none. It is logged as any other,
// since what a crash of the server emptied would empty the table, too.
//
// Its rows take the table's place by difference: rows that are not in the double
// go, those that differ are changed, new ones come, all in the batch's transaction.
// So readers see the old rows or the new ones and never wait; views, grants,
// references and what else hangs on the table stay; and rows that are equal, which
// are most, are not touched.

// double is what the sink knows of the double of a table.
func (st *targetTable) double() *targetTable {
	d := *st
	d.real = st
	d.Target = applyplan.Target{Relation: ^st.Relation, Table: st.Table, Key: st.Key, KeepsDeleted: st.KeepsDeleted,
		Double: &applyplan.Double{Relation: st.Relation, Mode: st.Mode}}
	if st.alwaysOutsideKey() || !st.bytewiseKey() {
		d.Mode = applyplan.Ordered
	}
	d.sql = fmt.Sprintf("entrain.double_%d", st.Relation)
	d.only = "ONLY " + d.sql
	d.deferrable, d.own, d.refers, d.differs, d.partitioned = false, false, false, false, false
	return &d
}

// ofDouble reports whether an event begins a double or puts it in place.
func ofDouble(e *entrain.Event) bool {
	if e.Op == entrain.OpTruncate {
		return len(e.Truncate.Tables) > 0 && e.Truncate.Tables[0].Shadow
	}
	return e.Op == entrain.OpReadEnd && e.Table != nil && e.Table.Shadow
}

// doubleNeeds are the rights that such an event takes at its table.
func doubleNeeds(e *entrain.Event) (*entrain.Table, []string) {
	if e.Op == entrain.OpTruncate {
		return e.Truncate.Tables[0], []string{"SELECT"}
	}
	return e.Table, []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
}

// checkDoubles refuses a truncate of a double and something else.
func checkDoubles(events []entrain.Event) error {
	for i := range events {
		e := &events[i]
		if e.Op != entrain.OpTruncate || len(e.Truncate.Tables) < 2 {
			continue
		}
		for _, t := range e.Truncate.Tables {
			if t.Shadow {
				return fmt.Errorf("event %s: a truncate of the double of table %s names other tables, too", e.ID(), t)
			}
		}
	}
	return nil
}

// runDouble begins a double anew, or puts it in place.
func (w *writer) runDouble(ctx context.Context, item *applyplan.Item) error {
	t := w.catalog.table(item.Target.Table)
	do, what := w.beginDouble, "make"
	if item.Op == applyplan.Swap {
		do, what = w.swap, "swap in"
	}
	if err := do(ctx, t); err != nil {
		return fmt.Errorf("%s the double of table %s: %w", what, t.Table, err)
	}
	delete(w.pinned, t)
	return nil
}

// beginDouble makes the double, and drops what is left of an earlier one.
func (w *writer) beginDouble(ctx context.Context, t *targetTable) error {
	return w.runAll(ctx, doubleSQL(t, w.cfg.Pipeline))
}

func (w *writer) runAll(ctx context.Context, statements []string) error {
	for _, sql := range statements {
		if err := run(ctx, w.conn, sql); err != nil {
			return err
		}
	}
	return nil
}

// swapError is a constraint's refusal of the rows of a double.
type swapError struct {
	t   *targetTable
	err error
}

func (e *swapError) Error() string { return e.err.Error() }
func (e *swapError) Unwrap() error { return e.err }

// swap puts the rows of t, a double, in the place of its table's. What the order
// of the changes runs into may pass in another: rows that are not there any more
// may be referred to by some that are yet to change, and rows that swap a unique
// value have to go first, which their references must not see.
func (w *writer) swap(ctx context.Context, t *targetTable) error {
	lost, err := w.isLost(ctx, t)
	if err != nil {
		return err
	}
	if lost {
		return stopLost(t)
	}
	s := swapSQL(t)
	if err := w.runAll(ctx, s.before); err != nil {
		return err
	}
	err = w.trySwap(ctx, s.ways[0])
	if dial.SQLState(err) == stateForeignKey {
		err = w.trySwap(ctx, s.ways[1])
	}
	if state := dial.SQLState(err); (state == stateUnique || state == stateExclusion) && !w.catalog.referred(t.real) {
		err = w.trySwap(ctx, s.ways[2])
	}
	if dial.SQLState(err) == stateForeignKey {
		err = w.swapFreely(ctx, t, err)
	}
	if state := dial.SQLState(err); strings.HasPrefix(state, "23") && !w.final(err) {
		return &swapError{t: t, err: err}
	}
	if err != nil {
		return err
	}
	return w.runAll(ctx, s.after)
}

// swapFreely puts the rows of t in place without a check of references, if all that
// they tie it to have doubles, too: of two such tables either may come first, and
// the reference holds once both have. Where that may not be it returns refused.
func (w *writer) swapFreely(ctx context.Context, t *targetTable, refused error) error {
	if t.real.differs {
		return refused
	}
	tied, err := dial.QueryRows(ctx, w.conn, tiedSQL, fmt.Sprint(t.real.Relation))
	if err != nil {
		return fmt.Errorf("look for doubles beside that of table %s: %w", t.Table, err)
	}
	for _, other := range tied {
		if other[1] != "true" {
			return refused
		}
	}
	if may, err := w.mayGoFreely(ctx); err != nil || !may {
		return errors.Join(err, refused)
	}
	way := append(append([]string{uncheckedSQL}, swapSQL(t).ways[0]...), checkedSQL)
	return w.trySwap(ctx, way)
}

func (w *writer) trySwap(ctx context.Context, way []string) error {
	return w.attempt(ctx, func() error { return w.runAll(ctx, way) })
}

// referred reports whether a reference points to the table.
func (c *catalog) referred(t *targetTable) bool {
	for _, ref := range c.refs {
		if parseOID(ref.parent) == t.Relation {
			return true
		}
	}
	return false
}

// isLost reports whether a double is not there, or not as its table is.
func (w *writer) isLost(ctx context.Context, t *targetTable) (bool, error) {
	row, err := dial.QueryRow(ctx, w.conn, doubleColumnsSQL, t.sql)
	if err != nil {
		return false, fmt.Errorf("look at the double of table %s: %w", t.Table, err)
	}
	names := "\n" + row[0] + "\n"
	for _, col := range t.columns {
		if !strings.Contains(names, "\n"+col.name+"\n") {
			return true, nil
		}
	}
	return false, nil
}

func stopLost(t *targetTable) error {
	return &entrain.Stop{
		Code:  "shadow_lost",
		What:  fmt.Sprintf("the rows that were to replace those of table %s are gone from the target: %s is not there, or lacks columns that the table has", t.Table, t.sql),
		Why:   "the target was restored from a backup, the table was changed or made anew, or somebody dropped it; the table itself has its old rows",
		Next:  "entrain table resync FILE " + t.Table.String(),
		Table: t.Table,
	}
}

// explainDouble asks whether a table or column that is not there is one of a double.
func (w *writer) explainDouble(ctx context.Context, err error, events []entrain.Event) error {
	asked := map[*targetTable]bool{}
	for i := range events {
		table := events[i].Table
		if table == nil || !table.Shadow {
			continue
		}
		t := w.catalog.tables[table]
		if t == nil || asked[t] {
			continue
		}
		if len(asked) == 0 {
			if _, fault := dial.QueryRows(ctx, w.conn, "ROLLBACK"); fault != nil {
				return err
			}
		}
		asked[t] = true
		lost, fault := w.isLost(ctx, t)
		if fault != nil {
			return err
		}
		if lost {
			return stopLost(t)
		}
	}
	return err
}
