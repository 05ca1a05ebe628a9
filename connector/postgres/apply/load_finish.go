package apply

import (
	"context"
	"fmt"
	"slices"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// conclude makes the rows the table's, or leaves that to Complete. The note comes
// first: another load that takes the table over waits for it, and holds no lock
// meanwhile that is needed here.
func (l *tableLoad) conclude(ctx context.Context, x *loadSession, note string) error {
	t, c := l.from.Table, l.claim()
	noted := dial.Question{SQL: setNoteSQL, Args: []string{x.cfg.Pipeline, t.Schema, t.Name, note}}
	inMode := func(m loadMode) dial.Question {
		return dial.Question{SQL: setModeSQL, Args: []string{x.cfg.Pipeline, t.Schema, t.Name, string(m)}}
	}
	if l.plan.mode == modeDirect && l.plan.made == madeByOthers { // there is nothing more to do
		return x.commit(ctx, c, dial.Question{SQL: "BEGIN"}, noted, inMode(modeFilled))
	}
	if _, err := x.begin(ctx, c, noted); err != nil {
		return err
	}
	mode, err := l.gather(ctx, x)
	if err != nil {
		return err
	}
	return x.commit(ctx, c, inMode(mode))
}

// gather brings all rows into the table, unless they have to wait, and makes what
// is made behind them.
func (l *tableLoad) gather(ctx context.Context, x *loadSession) (loadMode, error) {
	mode := modeFilled
	if l.plan.mode != modeDirect {
		if l.plan.waits {
			return modeStaged, nil
		}
		var err error
		if mode, err = x.merge(ctx, l.table); err != nil {
			return "", err
		}
	}
	return mode, x.furnish(ctx, l.from, l.plan.made)
}

// merge moves the rows of the stage into the table, and says how they are there.
func (x *loadSession) merge(ctx context.Context, t *targetTable) (loadMode, error) {
	mode := modeMerged
	empty, err := x.isEmpty(ctx, t)
	if err != nil {
		return "", err
	}
	if empty {
		mode = modeFilled
	}
	if err := x.readsAll(ctx); err != nil {
		return "", err
	}
	stage := stageName(x.cfg.Pipeline, t.Table)
	for _, sql := range mergeSQL(t, stage) {
		if err := x.run(ctx, sql); err != nil {
			return "", x.refused(ctx, err, t.Table)
		}
	}
	return mode, x.run(ctx, "DROP TABLE "+stage)
}

// furnish makes what a table of ours gets when it has its rows. Indexes that are
// there already cost next to nothing.
func (x *loadSession) furnish(ctx context.Context, t entrain.SnapshotTable, made tableMaker) error {
	if made == madeByOthers || t.Definition == nil {
		return nil
	}
	if err := x.define(ctx, t.Table, slices.Concat(t.Definition.Indexes, t.Definition.After)); err != nil {
		return err
	}
	if err := x.run(ctx, "ANALYZE "+tableSQL(t.Table)); err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	return nil
}

func (x *loadSession) setMode(ctx context.Context, t *entrain.Table, mode loadMode) error {
	if _, err := x.ask(ctx, setModeSQL, x.cfg.Pipeline, t.Schema, t.Name, string(mode)); err != nil {
		return fmt.Errorf("write the load down: %w", err)
	}
	return nil
}

// define executes statements of a definition. What is there already is left as
// it is; further states say the same of single statements.
func (x *loadSession) define(ctx context.Context, t *entrain.Table, statements []string, states ...string) error {
	states = append(states, "42P06", "42P07", "42710", "42723") // schema, relation, object, function
	for _, sql := range statements {
		state, err := x.attempt(ctx, sql, states...)
		if err == nil {
			continue
		}
		if state == "" || entrain.IsRetryable(err) {
			return fmt.Errorf("%s: %w", sql, err)
		}
		return x.stopDefinition(ctx, t, sql, err)
	}
	return nil
}

// Complete merges what had to wait for other tables, and makes the references of
// tables that we made; see [entrain.Loader]. Stages of tables that are not among
// these stay as they are.
func (s *Sink) Complete(ctx context.Context, tables []entrain.SnapshotTable) error {
	return s.asHolder(ctx, func(x *loadSession) error {
		x.catalog.reset() // the tables may have changed since their loads began
		err := x.complete(ctx, tables)
		const outOfSharedMemory = "53200"
		if dial.SQLState(err) == outOfSharedMemory {
			return &entrain.Stop{
				Code: "locks_exhausted",
				What: fmt.Sprintf("%s has not enough locks to merge the stages of all tables that refer to each other at once", x.server),
				Why:  "each of them, its stage and its indexes take one until the transaction ends",
				Next: "ALTER SYSTEM SET max_locks_per_transaction = 1024;   -- and restart the target; then: entrain run FILE",
				Err:  err,
			}
		}
		if err != nil {
			return fmt.Errorf("complete the load: %w", err)
		}
		return nil
	})
}

// Notes returns the notes of the loads that were finished since the last
// Complete; see [entrain.Loader].
func (s *Sink) Notes(ctx context.Context) ([]string, error) {
	var notes []string
	err := s.asHolder(ctx, func(x *loadSession) error {
		found, err := x.ask(ctx, hasLoadSQL)
		if err != nil || found == nil {
			return err
		}
		rows, err := dial.QueryRows(ctx, x.conn, notesSQL, s.cfg.Pipeline)
		if err != nil {
			return fmt.Errorf("read entrain.load: %w", err)
		}
		for _, row := range rows {
			notes = append(notes, row[0])
		}
		return nil
	})
	return notes, err
}

// waiting is a table for which something is left to be done.
type waiting struct {
	from entrain.SnapshotTable
	mode loadMode
	made tableMaker
}

func (x *loadSession) complete(ctx context.Context, tables []entrain.SnapshotTable) error {
	if err := x.check(ctx, x.holder()); err != nil {
		return err
	}
	found, err := x.ask(ctx, hasLoadSQL)
	if err != nil || found == nil {
		return err
	}
	list, err := x.waiting(ctx, tables)
	if err != nil {
		return err
	}
	var staged []waiting
	for _, w := range list {
		if w.mode == modeStaged {
			staged = append(staged, w)
		}
	}
	if len(staged) > 0 {
		if err := x.transact(ctx, x.holder(), func() error { return x.mergeAll(ctx, staged) }); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return nil
	}
	return x.transact(ctx, x.holder(), func() error { return x.refer(ctx, list) })
}

// waiting lists the tables among these that have a row in entrain.load.
func (x *loadSession) waiting(ctx context.Context, tables []entrain.SnapshotTable) ([]waiting, error) {
	rows, err := dial.QueryRows(ctx, x.conn, loadsSQL, x.cfg.Pipeline)
	if err != nil {
		return nil, fmt.Errorf("read entrain.load: %w", err)
	}
	var list []waiting
	for _, row := range rows {
		i := slices.IndexFunc(tables, func(t entrain.SnapshotTable) bool { return t.Table.Schema == row[0] && t.Table.Name == row[1] })
		if i < 0 {
			continue
		}
		w := waiting{from: tables[i], mode: loadMode(row[2]), made: makerOf(row[3])}
		if w.mode == modeDirect || w.mode == modeStaging {
			return nil, fmt.Errorf("the load of table %s is not finished", w.from.Table)
		}
		list = append(list, w)
	}
	return list, nil
}

// mergeAll merges stages, parents before children, and checks what can be
// checked late at the end.
func (x *loadSession) mergeAll(ctx context.Context, staged []waiting) error {
	targets := make([]*targetTable, len(staged))
	from := map[*targetTable]waiting{}
	for i, w := range staged {
		t, err := x.describe(ctx, w.from.Table)
		if err != nil {
			return err
		}
		if targets[i], err = x.asStaged(ctx, t); err != nil {
			return err
		}
		from[targets[i]] = w
	}
	if err := x.sortByReference(ctx, targets); err != nil {
		return err
	}
	if err := x.run(ctx, "SET CONSTRAINTS ALL DEFERRED"); err != nil {
		return err
	}
	modes := map[*targetTable]loadMode{}
	for _, t := range targets {
		var err error
		if modes[t], err = x.merge(ctx, t); err != nil {
			return err
		}
	}
	if err := x.run(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		return x.refused(ctx, err, nil)
	}
	for _, t := range targets {
		if err := x.furnish(ctx, from[t].from, from[t].made); err != nil {
			return err
		}
		if err := x.setMode(ctx, t.Table, modes[t]); err != nil {
			return err
		}
	}
	return nil
}

// asStaged omits the columns that the stage does not have: it may be older than
// the table's shape.
func (x *loadSession) asStaged(ctx context.Context, t *targetTable) (*targetTable, error) {
	rows, err := dial.QueryRows(ctx, x.conn, stageColumnsSQL, stageRelation(x.cfg.Pipeline, t.Table))
	if err != nil {
		return nil, fmt.Errorf("read the columns of the stage of table %s: %w", t.Table, err)
	}
	staged := *t
	staged.columns = slices.Clone(t.columns)
	for i, col := range t.Table.Columns {
		has := slices.ContainsFunc(rows, func(row []string) bool { return row[0] == col.Name })
		staged.columns[i].omit = staged.columns[i].omit || !has
	}
	return &staged, nil
}

// sortByReference puts parents before children.
func (x *loadSession) sortByReference(ctx context.Context, targets []*targetTable) error {
	refs, err := x.references(ctx)
	if err != nil {
		return err
	}
	merged := map[uint32]bool{}
	for _, t := range targets {
		merged[t.Relation] = true
	}
	var keys []applyplan.ForeignKey
	for _, r := range refs {
		if merged[r.child] && merged[r.parent] {
			keys = append(keys, applyplan.ForeignKey{Child: r.child, Parent: r.parent, Deferrable: r.deferrable})
		}
	}
	graph := applyplan.NewGraph(keys, nil)
	if stop := stopReferenceCycle(graph, refs, targets); stop != nil {
		return stop
	}
	slices.SortStableFunc(targets, func(a, b *targetTable) int { return graph.Rank(a.Relation) - graph.Rank(b.Relation) })
	return nil
}

// refer makes the references of tables that we made, all of which have their
// rows.
func (x *loadSession) refer(ctx context.Context, list []waiting) error {
	if err := x.readsAll(ctx); err != nil {
		return err
	}
	for _, w := range list {
		if w.made != madeByUs {
			continue
		}
		if err := x.referTable(ctx, w.from); err != nil {
			return err
		}
	}
	return nil
}

// Forget forgets the loads that are done; see [entrain.Loader].
func (s *Sink) Forget(ctx context.Context) error {
	return s.asHolder(ctx, func(x *loadSession) error {
		found, err := x.ask(ctx, hasLoadSQL)
		if err != nil || found == nil {
			return err
		}
		return x.commit(ctx, x.holder(), dial.Question{SQL: "BEGIN"},
			dial.Question{SQL: forgetLoadsSQL, Args: []string{x.cfg.Pipeline}})
	})
}

// first reports that it was not said before by this sink: what fails is tried
// again and again.
func (x *loadSession) first(what string) bool {
	_, said := x.said.LoadOrStore(what, true)
	return !said
}

// referTable passes over references to tables that the target does not have:
// else a pipeline for some tables of a source could never begin.
func (x *loadSession) referTable(ctx context.Context, t entrain.SnapshotTable) error {
	var statements []string
	if t.Definition != nil {
		statements = t.Definition.References
	}
	for _, sql := range statements {
		state, err := x.attempt(ctx, sql, "42710", stateUndefinedTable, stateUndefinedSchema)
		if (state == stateUndefinedTable || state == stateUndefinedSchema) && x.first(sql) {
			x.cfg.Log.Warn("a reference is left out, since its table is not at the target", "table", t.Table.String(), "sql", sql)
		}
		if err == nil {
			continue
		}
		if state == "" || entrain.IsRetryable(err) {
			return fmt.Errorf("%s: %w", sql, err)
		}
		return x.stopDefinition(ctx, t.Table, sql, err)
	}
	return nil
}
