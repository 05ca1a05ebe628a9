package apply

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// What is particular about tables whose rows are copied while the stream flows
// (entrain.Event.Settling):
//
// Keys. An insert replaces what it meets, so a set of inserts may meet many keys.
// A plain COPY is tried first, since most rows of a copy are new and it takes half
// the time of anything else; one that meets a key fails at once or late. Then the
// rows go into a temporary table and from there by ON CONFLICT into theirs, and
// the next sets of that table do so without another try. Arrays as parameters in
// the place of the temporary table took up to twice as long.
//
// References. A child may come before its parent, many transactions before: to
// defer the constraint does not help. If a reference refuses a batch, the
// statements for settling tables with references are done in the session's role
// "replica", in which no reference is checked, from then on and if our role may
// set that. It is not done ahead of need, and never for what that role would leave
// out besides: triggers, late unique constraints, and what other tables do when
// rows of this one go or get another key. What the copy leaves in the end refers as it
// does at the source. Where it cannot be done, the stop says what to grant or to
// drop.

// fewRows is up to how many rows that may replace others are cheaper as single
// statements than by a temporary table.
const fewRows = 128

// copyAgain is after how many sets of a table that met rows a plain COPY is
// tried again.
const copyAgain = 16

func settles(items []applyplan.Item) bool {
	for i := range items {
		if items[i].Settling {
			return true
		}
	}
	return false
}

// runInserts stores a set of new rows, some of which may replace others.
func (w *writer) runInserts(ctx context.Context, t *targetTable, items []applyplan.Item) error {
	if !t.arbiter || !settles(items) {
		return w.runCopy(ctx, t, items)
	}
	if w.met[t] == 0 {
		err := w.attempt(ctx, func() error { return w.runCopy(ctx, t, items) })
		if dial.SQLState(err) != stateUnique {
			return err
		}
		w.met[t] = copyAgain
	}
	w.met[t]--
	return w.runStaged(ctx, t, items)
}

// stagedSet is where rows of a set wait for a moment.
const stagedSet = "pg_temp.entrain_set"

// runStaged stores the rows by a temporary table.
func (w *writer) runStaged(ctx context.Context, t *targetTable, items []applyplan.Item) error {
	if err := run(ctx, w.conn, "CREATE TEMPORARY TABLE entrain_set AS "+typesSQL(t)+" WITH NO DATA"); err != nil {
		return err
	}
	stage := *t
	stage.sql = stagedSet
	if err := w.runCopy(ctx, &stage, items); err != nil {
		return err
	}
	delete(w.pinned, &stage)
	for _, sql := range append(mergeSQL(t, stagedSet), "DROP TABLE "+stagedSet) {
		if err := run(ctx, w.conn, sql); err != nil {
			return err
		}
	}
	return nil
}

// freedom says that references are not checked.
type freedom bool

// freely reports whether an item is done without a check of references.
func (w *writer) freely(item *applyplan.Item) freedom {
	if !w.unchecked || item.Target == nil || !item.Settling {
		return false
	}
	t := w.catalog.table(item.Target.Table)
	switch item.Op {
	case applyplan.Insert:
		return freedom(t.letsGo())
	case applyplan.Update, applyplan.Rekey:
		return freedom(t.letsGo() && !t.ActsOnRekey && !t.ActsOnUpdate)
	}
	return false
}

// allFreely reports whether all of a set are: else it is checked, and what is
// refused then is done row by row.
func (w *writer) allFreely(items []applyplan.Item) freedom {
	for i := range items {
		if !w.freely(&items[i]) {
			return false
		}
	}
	return true
}

// letsGo reports whether the table's references are all that the session's role
// replica leaves out when a row is stored.
func (t *targetTable) letsGo() bool { return t.refers && !t.differs }

const (
	uncheckedSQL = "SET LOCAL session_replication_role = replica"
	checkedSQL   = "SET LOCAL session_replication_role TO DEFAULT"
)

// setFreely switches the check of references for what follows; the caller has
// nothing under way. A rollback to before the change takes it back.
func (w *writer) setFreely(ctx context.Context, free freedom) error {
	if w.free == free {
		return nil
	}
	sql := checkedSQL
	if free {
		sql = uncheckedSQL
	}
	if err := run(ctx, w.conn, sql); err != nil {
		return err
	}
	w.free = free
	return nil
}

// goFreely reports whether err is a reference's refusal of a batch that may be
// tried once more, and then without that check.
func (w *writer) goFreely(ctx context.Context, events []entrain.Event, err error) (bool, error) {
	if w.unchecked || dial.SQLState(err) != stateForeignKey {
		return false, nil
	}
	for i := range events {
		e := &events[i]
		if e.Table == nil || !e.Settling || !w.catalog.table(e.Table).letsGo() {
			continue
		}
		var fault error
		w.unchecked, fault = w.mayGoFreely(ctx)
		return w.unchecked, fault
	}
	return false, nil
}

const (
	// canGrantSQL: the right to set a parameter can be granted from 15 on.
	canGrantSQL = `SELECT (current_setting('server_version_num')::int >= 150000)::text`
	maySetSQL   = `SELECT has_parameter_privilege('session_replication_role', 'SET')::text`
	maySet14SQL = `SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user`
)

// mayGoFreely asks whether our role may set the session's role.
func (w *writer) mayGoFreely(ctx context.Context) (bool, error) {
	row, err := dial.QueryRow(ctx, w.conn, canGrantSQL)
	if err == nil && row[0] == "true" {
		row, err = dial.QueryRow(ctx, w.conn, maySetSQL)
	} else if err == nil {
		row, err = dial.QueryRow(ctx, w.conn, maySet14SQL)
	}
	if err != nil {
		return false, fmt.Errorf("ask whether references may go unchecked: %w", err)
	}
	return row != nil && row[0] == "true", nil
}
