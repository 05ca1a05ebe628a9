package apply

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// SoftDelete says how rows are marked as deleted.
type SoftDelete struct {
	// Column of the target's tables that the source's do not have: a timestamp, which
	// becomes the time of the delete at the target, or a boolean. Empty for none: rows are
	// deleted.
	Column string `yaml:"column"`
}

// sourceLSNPriority is the only conflict strategy: the change that the source committed
// last counts.
const sourceLSNPriority = "source_lsn_priority"

// gated checks the settings of the version gate, and lets the strategy turn it on.
func (c *Config) gated() error {
	if c.ConflictStrategy != "" && c.ConflictStrategy != sourceLSNPriority {
		return fmt.Errorf("conflict_strategy: %q is not known, known: %s", c.ConflictStrategy, sourceLSNPriority)
	}
	c.VersionGate = c.VersionGate || c.ConflictStrategy != "" && !c.GateOff
	if c.VersionGate && c.Parallel > 1 {
		return fmt.Errorf("version_gate and parallel: %d exclude each other: the gate compares changes in their order", c.Parallel)
	}
	return nil
}

// softColumn marks rows of a table as deleted; the zero softColumn does not.
type softColumn struct {
	name string // quoted
	flag bool   // a boolean
	// strict: an update does not find a marked row. Behind a gate it came before the
	// insert that takes the mark away.
	strict bool
}

// live is a condition on rows t without a mark; "" if none is marked.
func (s softColumn) live() string {
	switch {
	case s.name == "":
		return ""
	case s.flag:
		return "t." + s.name + " IS NOT TRUE"
	}
	return "t." + s.name + " IS NULL"
}

// found is what an update adds to its condition.
func (s softColumn) found() string {
	if !s.strict || s.name == "" {
		return ""
	}
	return " AND " + s.live()
}

// remove is what follows SET to mark a row t; "" if rows are deleted. A mark that is
// there stays as it is.
func (s softColumn) remove() string {
	switch {
	case s.name == "":
		return ""
	case s.flag:
		return s.name + " = true"
	}
	return s.name + " = coalesce(t." + s.name + ", now())"
}

// clear is what follows SET to take the mark away.
func (s softColumn) clear() string { return s.name + " = " + s.unset() }

// unset is the column's value without a mark.
func (s softColumn) unset() string {
	if s.flag {
		return "false"
	}
	return "NULL"
}

// deleting begins the statement that deletes rows t or marks them.
func (t *targetTable) deleting() string {
	if t.soft.name == "" {
		return "DELETE FROM " + t.only + " AS t "
	}
	return "UPDATE " + t.only + " AS t SET " + t.soft.remove() + " "
}

// truncateSoftly marks all rows of several tables; sequences go on.
func truncateSoftly(tr *entrain.Truncate, find func(*entrain.Table) *targetTable) string {
	var parts []string
	for i, table := range tr.Tables {
		t := find(table)
		parts = append(parts, fmt.Sprintf("t%d AS (%sWHERE %s)", i, t.deleting(), t.soft.live()))
	}
	return "WITH " + strings.Join(parts, ", ") + " SELECT 1"
}

// describeSoft finds the column that marks deleted rows. rows are those of
// catalogColumnsSQL.
func (c *catalog) describeSoft(st *targetTable, rows [][]string) error {
	if c.soft == "" {
		return nil
	}
	name := sqltext.Ident(c.soft)
	stop := &entrain.Stop{
		Code: "soft_delete_column",
		Why:  "soft_delete marks a row as deleted in that column, and an insert of its key takes the mark away",
		Next: fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s timestamptz;\n%s", tableSQL(st.Table), name, thenRun),
	}
	at := slices.IndexFunc(rows, func(r []string) bool { return r[1] == c.soft })
	switch {
	case slices.ContainsFunc(st.Table.Columns, func(col entrain.Column) bool { return col.Name == c.soft }):
		stop.What = fmt.Sprintf("column %s of table %s comes from the source, so that it cannot mark deleted rows", name, st.Table)
		stop.Next = "name another column in FILE: sink.soft_delete.column, or take soft_delete out; then: entrain run FILE"
	case at < 0:
		stop.What = fmt.Sprintf("table %s has no column %s at the target", st.Table, name)
	case !slices.Contains([]string{"timestamptz", "timestamp", "bool"}, rows[at][6]):
		stop.What = fmt.Sprintf("column %s of table %s is of type %s, not a timestamp or a boolean", name, st.Table, rows[at][6])
		stop.Next = "name another column in FILE: sink.soft_delete.column; then: entrain run FILE"
	case len(st.Key) == 0 || !st.arbiter:
		stop.What = fmt.Sprintf("table %s has no key with a unique index at the target that ON CONFLICT can use", st.Table)
		stop.Why = "a row that is marked as deleted is found by its key when that is inserted again"
		stop.Next = fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…);   -- at both ends\nor take soft_delete out of FILE; then: entrain run FILE", tableSQL(st.Table))
	default:
		st.soft = softColumn{name: name, flag: rows[at][6] == "bool", strict: c.gated}
		st.KeepsDeleted = true
		return nil
	}
	return stop
}
