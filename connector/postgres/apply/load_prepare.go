package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// loadMode says where the rows of a load are.
type loadMode string

// The modes, as entrain.load has them.
const (
	// modeDirect: parts go into the table, all of whose rows are ours.
	modeDirect loadMode = "direct"
	// modeStaging: parts go into a stage table.
	modeStaging loadMode = "staging"
	// modeStaged: all rows are in the stage table, for Complete.
	modeStaged loadMode = "staged"
	// modeFilled: all rows are in the table, and they are its only ones.
	modeFilled loadMode = "filled"
	// modeMerged: all rows are in the table, beside those of others.
	modeMerged loadMode = "merged"
)

// tableMaker says who made a table.
type tableMaker bool

const (
	madeByOthers tableMaker = false
	madeByUs     tableMaker = true
)

func makerOf(text string) tableMaker { return tableMaker(text == "true") }

// loadPlan is what was decided when the load began.
type loadPlan struct {
	mode loadMode
	made tableMaker
	// waits: the rows refer to other tables, so that they become the table's
	// when all tables have theirs.
	waits bool
}

// prepare finds or makes the table, removes what an earlier load has left, and
// writes down what this one does.
func (l *tableLoad) prepare(ctx context.Context, x *loadSession) error {
	if !l.sink.loads.isReady() {
		if err := x.ensureLoadTable(ctx); err != nil {
			return err
		}
		l.sink.loads.setReady()
	}
	return x.explain(ctx, l.prepareTable(ctx, x), l.from.Table)
}

func (l *tableLoad) prepareTable(ctx context.Context, x *loadSession) error {
	t := l.from.Table
	before, err := l.claimAndFind(ctx, x)
	if err != nil {
		return err
	}
	if before != nil {
		l.plan.made = l.plan.made || makerOf(before[1])
		if err := l.undo(ctx, x, loadMode(before[0])); err != nil {
			return fmt.Errorf("remove what an earlier load has left: %w", err)
		}
	}
	if err := l.decide(ctx, x); err != nil {
		return err
	}
	l.into = l.table
	if l.plan.mode == modeStaging {
		if err := l.makeStage(ctx, x); err != nil {
			return err
		}
	}
	args := []string{x.cfg.Pipeline, t.Schema, t.Name, string(l.plan.mode), fmt.Sprint(l.plan.made), l.id}
	return x.commit(ctx, x.holder(), dial.Question{SQL: writeLoadSQL, Args: args})
}

// claimAndFind begins the transaction: it takes over what an earlier load has
// left, and returns what that was, and finds or makes the table.
func (l *tableLoad) claimAndFind(ctx context.Context, x *loadSession) (before []string, err error) {
	t := l.from.Table
	if err := x.catalog.loadGraph(ctx); err != nil {
		return nil, err
	}
	earlier, err := x.catalog.question(ctx, claimLoadSQL, x.cfg.Pipeline, t.Schema, t.Name, l.id)
	if err != nil {
		return nil, fmt.Errorf("look for an earlier load: %w", err)
	}
	questions, err := x.catalog.questions(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("look up table %s at the target: %w", t, err)
	}
	rows, err := x.begin(ctx, x.holder(), append([]dial.Question{earlier}, questions...)...)
	x.catalog.noticed(err, append(tableQuestions[:len(tableQuestions):len(tableQuestions)], claimLoadSQL)...)
	if err != nil {
		return nil, err
	}
	if len(rows[0]) > 0 {
		before = rows[0][0]
	}
	found, err := x.catalog.described(ctx, t, rows[1:])
	l.table, l.plan.made, err = x.orMake(ctx, l.from, found, about(t, err))
	return before, err
}

// findTable learns about the table and makes it if it is missing.
func (x *loadSession) findTable(ctx context.Context, from entrain.SnapshotTable) (*targetTable, tableMaker, error) {
	t, err := x.describe(ctx, from.Table)
	return x.orMake(ctx, from, t, err)
}

// orMake takes what describe says of the table, and makes the table if it is
// missing.
func (x *loadSession) orMake(ctx context.Context, from entrain.SnapshotTable, t *targetTable, err error) (*targetTable, tableMaker, error) {
	var stop *entrain.Stop
	if !errors.As(err, &stop) || !lacksTable(stop) || !x.cfg.CreateTables {
		return t, madeByOthers, err
	}
	if d := from.Definition; d == nil || d.Dialect != "postgres" {
		stop.Why = "create_tables is set, but the source does not say how the table is made"
		return nil, madeByOthers, err
	}
	if err := x.define(ctx, from.Table, from.Definition.Before, stateUnique); err != nil {
		return nil, madeByOthers, err
	}
	t, err = x.describe(ctx, from.Table)
	return t, madeByUs, err
}

// describe reads the catalog. What it says of a table is not kept: a session is
// there for many, and as long as they take.
func (x *loadSession) describe(ctx context.Context, t *entrain.Table) (*targetTable, error) {
	if err := x.catalog.learn(ctx, t); err != nil {
		return nil, err
	}
	defer x.catalog.forget(t)
	return x.catalog.table(t), nil
}

// undo removes the rows of a load that was not completed, unless they are among
// those of others.
func (l *tableLoad) undo(ctx context.Context, x *loadSession, mode loadMode) error {
	switch mode {
	case modeStaging, modeStaged:
		return x.run(ctx, "DROP TABLE IF EXISTS "+stageName(x.cfg.Pipeline, l.from.Table))
	case modeMerged:
		return nil
	}
	state, err := x.attempt(ctx, "TRUNCATE TABLE "+l.table.only, stateNotSupported, dial.StateNoPrivilege)
	if err != nil || state == "" {
		return err
	}
	if err := l.mayDelete(ctx, x); err != nil {
		return err
	}
	return x.run(ctx, "DELETE FROM "+l.table.only)
}

// mayDelete refuses a DELETE that would change rows of others: a reference to
// the table that acts on it.
func (l *tableLoad) mayDelete(ctx context.Context, x *loadSession) error {
	rows, err := dial.QueryRows(ctx, x.conn, actingChildrenSQL, fmt.Sprint(l.table.Relation))
	if err != nil {
		return fmt.Errorf("read what refers to the table: %w", err)
	}
	for _, row := range rows {
		found, err := x.ask(ctx, "SELECT 1 FROM "+row[0]+" LIMIT 1")
		if err != nil {
			return err
		}
		if found != nil {
			return stopLoadReferenced(l.from.Table, row[0], x.cfg.Pipeline)
		}
	}
	return nil
}

// anyRowSQL has a row if the table has one.
func anyRowSQL(t *targetTable) string { return "SELECT 1 FROM " + t.only + " LIMIT 1" }

func (x *loadSession) isEmpty(ctx context.Context, t *targetTable) (bool, error) {
	found, err := x.ask(ctx, anyRowSQL(t))
	if err != nil {
		return false, fmt.Errorf("look for rows: %w", err)
	}
	return found == nil, nil
}

// decide chooses how the rows get into the table.
func (l *tableLoad) decide(ctx context.Context, x *loadSession) error {
	parents, err := x.catalog.question(ctx, enforcedParentsSQL, fmt.Sprint(l.table.Relation))
	if err != nil {
		return fmt.Errorf("read the target's foreign keys: %w", err)
	}
	found, err := dial.QueryBatch(ctx, x.conn, dial.Question{SQL: anyRowSQL(l.table)}, parents)
	x.catalog.noticed(err, enforcedParentsSQL)
	if err != nil {
		return fmt.Errorf("look for rows and foreign keys: %w", err)
	}
	empty := len(found[0]) == 0
	if !empty && len(l.table.Key) > 0 && l.sink.first(l.from.Table) {
		l.sink.cfg.Log.Warn("the table had rows already: those stay unless a row with their key is copied", "table", l.from.Table.String())
	}
	refers := len(found[1]) > 0
	l.plan.waits = l.from.Group != 0 // it may be redone together with the others of its group
	for _, parent := range found[1] {
		l.plan.waits = l.plan.waits || parseOID(parent[0]) != l.table.Relation
	}
	switch {
	case !empty && len(l.table.Key) == 0:
		return stopLoadNotEmpty(l.from.Table)
	case !empty || refers || l.table.Mode == applyplan.Strict:
		l.plan.mode = modeStaging
	default:
		l.plan.mode = modeDirect
	}
	return nil
}

// first reports whether it is asked about the table for the first time.
func (s *Sink) first(t *entrain.Table) bool {
	_, said := s.said.LoadOrStore(t.String(), true)
	return !said
}

// makeStage makes the table that takes the rows first: the columns that are
// delivered, with their types and nothing else.
func (l *tableLoad) makeStage(ctx context.Context, x *loadSession) error {
	stage := stageName(x.cfg.Pipeline, l.from.Table)
	may, err := x.ask(ctx, "SELECT has_schema_privilege('entrain', 'CREATE')::text")
	if err != nil {
		return err
	}
	if may[0] != "true" {
		return x.stopLoadTable(nil)
	}
	if err := x.run(ctx, "DROP TABLE IF EXISTS "+stage); err != nil {
		return err
	}
	if err := x.run(ctx, "CREATE TABLE "+stage+" AS "+typesSQL(l.table)+" WITH NO DATA"); err != nil {
		return fmt.Errorf("make the stage table: %w", err)
	}
	into := *l.table
	into.sql, into.only = stage, stage
	l.into = &into
	return nil
}

// ensureLoadTable makes entrain.load. It is looked for first: even IF NOT EXISTS
// needs the right to make one.
func (x *loadSession) ensureLoadTable(ctx context.Context) error {
	found, err := x.ask(ctx, hasLoadSQL)
	if err != nil {
		return fmt.Errorf("look for the table entrain.load: %w", err)
	}
	if found != nil {
		return nil
	}
	err = x.run(ctx, loadTableSQL)
	switch dial.SQLState(err) {
	case stateUnique, "42P07", "42710": // another load made it in the same moment
		return nil
	case dial.StateNoPrivilege:
		return x.stopLoadTable(err)
	}
	if err != nil {
		return fmt.Errorf("create the table entrain.load: %w", err)
	}
	return nil
}
