package apply

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/pgbinary"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// sinkColumn is the target's column for one column of the source.
type sinkColumn struct {
	name string // quoted
	// omit: the target generates the value itself.
	omit bool
	// always: GENERATED ALWAYS AS IDENTITY, which UPDATE cannot set.
	always bool
	num    string        // attnum
	oid    uint32        // of the type, domains resolved
	binary pgbinary.Form // of the type; nil if not known
	cast   string        // the type without a modifier: assignment checks that
	equal  string        // the type's equality operator
	// bytewise: two values are equal if and only if their texts are.
	bytewise bool
}

// ofText is the value of an expression of type text. The cast from text to regclass
// is a lookup of names, which refuses 0 ("-") and numbers; that from bpchar reads
// what the type prints.
func (c *sinkColumn) ofText(expression string) string {
	if c.cast == "regclass" {
		expression += "::bpchar"
	}
	return expression + "::" + c.cast
}

// targetTable is what the sink knows of the table that a source table's events
// go to. It is immutable.
type targetTable struct {
	applyplan.Target
	sql        string // quoted and qualified
	only       string // the same, without what inherits from it
	columns    []sinkColumn
	key        []bool // by column: part of Target.Key
	extra      []string
	unique     bool   // some unique index is on the key
	arbiter    bool   // one that ON CONFLICT can use: none on the key is deferrable
	late       string // a deferrable constraint on the key, quoted
	always     int    // the column that is always, -1 for none
	deferrable bool   // has constraints that can be checked at the end
	// own: rows refer to other rows of the table, so that several of them may
	// have to be one statement, at whose end that is checked.
	own    bool
	refers bool // to other tables or to itself
	// differs: other triggers, rules or unique constraints hold in the session's
	// role replica than in its own.
	differs bool
	// real is the table whose double this is; nil if it is none.
	real *targetTable
	// partitioned tables need more than ctid to tell rows apart.
	partitioned bool
	tied        ties
	soft        softColumn
}

// catalog caches what the session has learnt about the target. It is emptied
// when an error says that it is out of date.
type catalog struct {
	conn   *pgconn.PgConn
	role   string // ours, for messages
	soft   string // the column that marks deleted rows; "" for none
	gated  bool   // there is a version gate
	makes  bool   // tables are made when their rows are copied; for messages
	tables map[*entrain.Table]*targetTable
	graph  *applyplan.Graph
	refs   []reference
	late   map[string]bool   // oids of tables with deferrable constraints
	parent map[string]string // oids: of a partition, that of what it is a part of
	since  time.Time         // when the graph was read
	last   *targetTable
	shapes
	// prepared are the names of the questions that were asked before: planning
	// one takes longer than answering it.
	prepared map[string]string
	named    int // counts their names, none of which is used twice
}

// maxCachedTables bounds the cache: shapes of a table come and go.
const maxCachedTables = 20000

func newCatalog(conn *pgconn.PgConn) *catalog {
	c := &catalog{conn: conn, prepared: map[string]string{}}
	c.reset()
	return c
}

func (c *catalog) reset() {
	c.tables = map[*entrain.Table]*targetTable{}
	c.graph, c.refs, c.late, c.last = nil, nil, nil, nil
}

// ask runs a question about one table.
func (c *catalog) ask(ctx context.Context, sql string, args ...string) ([][]string, error) {
	q, err := c.question(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	rows, err := dial.QueryPrepared(ctx, c.conn, q.SQL, args...)
	c.noticed(err, sql)
	return rows, err
}

// question prepares a statement, once.
func (c *catalog) question(ctx context.Context, sql string, args ...string) (dial.Question, error) {
	name := c.prepared[sql]
	if name == "" {
		c.named++
		name = "entrain_catalog_" + strconv.Itoa(c.named)
		if _, err := c.conn.Prepare(ctx, name, sql, nil); err != nil {
			return dial.Question{}, dial.Classify(err)
		}
		c.prepared[sql] = name
	}
	return dial.Question{SQL: name, Prepared: true, Args: args}, nil
}

// noticed forgets statements one of which somebody between us dropped.
func (c *catalog) noticed(err error, statements ...string) {
	if dial.SQLState(err) == stateNoStatement {
		for _, sql := range statements {
			delete(c.prepared, sql)
		}
	}
}

// forget makes the catalog learn a table again.
func (c *catalog) forget(t *entrain.Table) {
	delete(c.tables, t)
	c.last = nil
}

// target is the planner's [applyplan.Lookup].
func (c *catalog) target(t *entrain.Table) *applyplan.Target { return &c.table(t).Target }

// table returns what load has found.
func (c *catalog) table(t *entrain.Table) *targetTable {
	if c.last == nil || c.last.Table != t {
		c.last = c.tables[t]
	}
	return c.last
}

// load learns about every table of the events that is not known yet.
func (c *catalog) load(ctx context.Context, events []entrain.Event) error {
	var last *entrain.Table
	for i := range events {
		e := &events[i]
		if e.Truncate != nil {
			if err := c.learn(ctx, e.Truncate.Tables...); err != nil {
				return firstMet(e, err)
			}
		}
		if e.Table == nil || e.Op == entrain.OpReadEnd && !e.Table.Shadow {
			continue
		}
		if e.Table != last {
			if err := c.learn(ctx, e.Table); err != nil {
				return firstMet(e, err)
			}
			last = e.Table
		}
		if e.Settling && !c.table(e.Table).arbiter {
			return c.stopNoArbiter(c.table(e.Table))
		}
	}
	return c.loadGraph(ctx)
}

func (c *catalog) learn(ctx context.Context, tables ...*entrain.Table) error {
	for _, t := range tables {
		if c.tables[t] != nil {
			continue
		}
		if err := c.loadGraph(ctx); err != nil {
			return err
		}
		st, err := c.describe(ctx, t)
		if err != nil {
			return about(t, err)
		}
		if t.Shadow {
			if !st.arbiter {
				return c.stopNoArbiter(st)
			}
			st = st.double()
		}
		c.tables[t] = st
	}
	return nil
}

// tableQuestions are what has to be known of a table, in the order in which
// described takes the answers. They need nothing of each other.
var tableQuestions = []string{catalogTableSQL, catalogColumnsSQL, catalogKeysSQL}

// questions prepares tableQuestions for a table.
func (c *catalog) questions(ctx context.Context, t *entrain.Table) ([]dial.Question, error) {
	list := make([]dial.Question, len(tableQuestions))
	for i, sql := range tableQuestions {
		var err error
		if list[i], err = c.question(ctx, sql, t.Schema, t.Name); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// describe reads one table from the catalog.
func (c *catalog) describe(ctx context.Context, t *entrain.Table) (*targetTable, error) {
	questions, err := c.questions(ctx, t)
	var answers [][][]string
	if err == nil {
		answers, err = dial.QueryBatch(ctx, c.conn, questions...)
		c.noticed(err, tableQuestions...)
	}
	if err != nil {
		return nil, fmt.Errorf("look up table %s at the target: %w", t, err)
	}
	return c.described(ctx, t, answers)
}

// described makes of the answers what the sink knows of a table.
func (c *catalog) described(ctx context.Context, t *entrain.Table, answers [][][]string) (*targetTable, error) {
	found := answers[0]
	if len(found) == 0 {
		return nil, c.missing(ctx, t)
	}
	rel := found[0]
	oid, kind, secured, fires := rel[0], rel[1], rel[2] == "true", rel[3] == "true"
	if kind != "r" && kind != "p" {
		return nil, stopNotATable(t)
	}
	if secured {
		return nil, stopRowSecurity(t, c.role)
	}
	st := &targetTable{
		Target:      applyplan.Target{Relation: parseOID(oid), Table: t},
		sql:         sqltext.Table(t.Schema, t.Name),
		always:      -1,
		deferrable:  c.late[oid],
		partitioned: kind == "p",
		differs:     rel[4] == "true",
	}
	st.only = "ONLY " + st.sql
	if st.partitioned {
		st.only = st.sql
	}
	volatile, err := c.describeColumns(st, answers[1])
	if err != nil {
		return nil, err
	}
	st.describeKey(answers[2])
	if err := c.describeSoft(st, answers[1]); err != nil {
		return nil, err
	}
	c.describeReferences(st, oid)
	c.describeTies(st, oid, answers[2])
	switch {
	case fires:
		st.Mode = applyplan.Strict
	case volatile || st.alwaysOutsideKey() || !st.bytewiseKey():
		st.Mode = applyplan.Ordered
	}
	return st, nil
}

// describeColumns finds the target's column for each of the source's, and
// reports whether a column that the source does not have gets its value from
// something that differs from one call to the next.
func (c *catalog) describeColumns(st *targetTable, rows [][]string) (bool, error) {
	byName := make(map[string][]string, len(rows))
	for _, row := range rows {
		byName[row[1]] = row
	}
	st.columns = make([]sinkColumn, len(st.Table.Columns))
	for i, col := range st.Table.Columns {
		row, gone := byName[col.Name], false
		if row == nil {
			row, gone = c.former(st.Table, col, byName)
		}
		if gone {
			st.columns[i] = sinkColumn{name: sqltext.Ident(col.Name), omit: true}
			continue
		}
		if row == nil {
			return false, stopColumnMissing(st.Table, col)
		}
		delete(byName, row[1])
		st.columns[i] = newSinkColumn(row, col)
		if st.columns[i].always {
			st.always = i
		}
	}
	volatile := false
	for _, row := range rows {
		generated := row[2] == "true"
		if byName[row[1]] != nil && !generated {
			st.extra = append(st.extra, sqltext.Ident(row[1]))
			volatile = volatile || row[10] == "true"
		}
	}
	return volatile, nil
}

func newSinkColumn(row []string, source entrain.Column) sinkColumn {
	modifier, _ := strconv.ParseInt(row[8], 10, 32)
	return sinkColumn{
		num:    row[0],
		name:   sqltext.Ident(row[1]),
		omit:   row[2] == "true",
		always: row[3] == "a",
		oid:    parseOID(row[4]),
		binary: binaryForm(row),
		cast:   row[5],
		equal:  "OPERATOR(" + sqltext.Ident(row[11]) + ".=)",
		bytewise: row[9] == "true" && sameType(row, source) &&
			sqltext.ColumnType{Name: row[6], Modifier: int32(modifier), Enum: row[7] == "true"}.Bytewise(source.Modifier),
	}
}

// binaryForm is that of the column's type. That of an enum is its label.
func binaryForm(row []string) pgbinary.Form {
	if enum := row[7] == "true"; enum {
		return pgbinary.Raw
	}
	return pgbinary.Of(parseOID(row[4]))
}

// sameType reports whether the column has the source's type, which sources may
// name as the catalog does (int8) or as SQL does (bigint).
func sameType(row []string, source entrain.Column) bool {
	return source.Type == row[6] || source.Type == row[5]
}

// describeKey chooses what identifies a row: the source's replica identity, or
// under full identity the target's primary key.
func (st *targetTable) describeKey(rows [][]string) {
	if !st.Table.FullIdentity {
		for i, col := range st.Table.Columns {
			if col.Key {
				st.Key = append(st.Key, i)
			}
		}
	}
	for _, row := range rows {
		primary, immediate := row[0] == "true", row[1] == "true"
		columns := st.columnsOf(strings.Fields(row[2]))
		if st.Table.FullIdentity && primary && columns != nil {
			st.Key = columns
		}
		same := len(st.Key) > 0 && slices.Equal(columns, st.Key)
		st.unique = st.unique || same
		st.arbiter = st.arbiter || same && immediate
		if same && !immediate {
			st.late = row[3]
		}
	}
	st.arbiter = st.arbiter && st.late == ""
	st.key = make([]bool, len(st.columns))
	for _, i := range st.Key {
		st.key[i] = true
	}
}

// columnsOf returns the source's columns for attribute numbers, ascending; nil
// if it does not have them all.
func (st *targetTable) columnsOf(nums []string) []int {
	var columns []int
	for i, col := range st.columns {
		if slices.Contains(nums, col.num) {
			columns = append(columns, i)
		}
	}
	if len(columns) != len(nums) {
		return nil
	}
	return columns
}

// describeReferences notes what foreign keys do when this table changes.
func (c *catalog) describeReferences(st *targetTable, oid string) {
	for _, ref := range c.refs {
		if ref.child == oid && ref.cascades {
			st.Cascaded = true
		}
		st.refers = st.refers || ref.child == oid
		if ref.parent != oid {
			continue
		}
		st.own = st.own || ref.child == oid
		st.ActsOnDelete = st.ActsOnDelete || ref.deleteActs
		if !ref.updateActs {
			continue
		}
		st.ActsOnRekey = true
		referenced := st.columnsOf(ref.columns)
		inKey := referenced != nil
		for _, i := range referenced {
			inKey = inKey && st.key[i]
		}
		st.ActsOnUpdate = st.ActsOnUpdate || !inKey
	}
}

func (st *targetTable) bytewiseKey() bool {
	for _, i := range st.Key {
		if !st.columns[i].bytewise {
			return false
		}
	}
	return len(st.Key) > 0
}

func (st *targetTable) alwaysOutsideKey() bool { return st.always >= 0 && !st.key[st.always] }

func parseOID(s string) uint32 {
	oid, _ := strconv.ParseUint(s, 10, 32)
	return uint32(oid)
}
