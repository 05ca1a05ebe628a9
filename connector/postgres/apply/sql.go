package apply

import (
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
)

// OIDs of system types, which never change.
const (
	oidInt8      = 20
	oidText      = 25
	oidTextArray = 1009
	oidNumeric   = 1700
	oidUUID      = 2950
)

// image says which row of an item is meant.
type image uint8

const (
	rowImage image = iota // Item.Row
	keyImage              // Item.Key
)

func (i image) of(item *applyplan.Item) entrain.Row {
	if i == keyImage {
		return item.Key
	}
	return item.Row
}

// keyColumns says whether an update sets the columns of the key, too.
type keyColumns uint8

const (
	keepKey keyColumns = iota
	setKey
)

// param says which value of an item a statement's parameter takes.
type param struct {
	column int
	image  image
}

// rowSQL puts the statement for one row together. Values are parameters in
// text form whose type is the column's without its modifier: the assignment
// then checks lengths instead of cutting values short.
type rowSQL struct {
	t      *targetTable
	params []param
	oids   []uint32
}

// arg adds a parameter and returns its place holder.
func (b *rowSQL) arg(column int, from image) string {
	b.params = append(b.params, param{column, from})
	b.oids = append(b.oids, b.t.columns[column].oid)
	return "$" + strconv.Itoa(len(b.params))
}

func (b *rowSQL) statement(sql string) *statement {
	return &statement{sql: sql, params: b.params, oids: b.oids}
}

// rowStatement returns the statement for an item on one row; nil if there is
// nothing to do.
func rowStatement(t *targetTable, item *applyplan.Item) *statement {
	b := &rowSQL{t: t}
	switch item.Op {
	case applyplan.Insert:
		return b.insert()
	case applyplan.Rekey:
		if item.Settling && t.arbiter {
			return b.settle(item)
		}
		return b.update(item)
	case applyplan.Delete:
		return b.statement(t.deleting() + "WHERE " + b.match(item.Key))
	default:
		return b.update(item)
	}
}

// insert is an upsert where there is a key.
func (b *rowSQL) insert() *statement {
	t := b.t
	var names, values []string
	for i, col := range t.columns {
		if !col.omit {
			names = append(names, col.name)
			values = append(values, b.arg(i, rowImage))
		}
	}
	into := "INSERT INTO " + t.sql + " AS t (" + strings.Join(names, ", ") + ") " + t.overriding()
	switch {
	case len(t.Key) == 0:
		return b.statement(into + valuesList(values))
	case t.arbiter:
		return b.statement(into + valuesList(values) + " ON CONFLICT (" + strings.Join(t.keyNames(), ", ") + ") " + t.onConflict())
	}
	// No index can arbitrate: update first, insert what was not there.
	known := "SELECT 1 FROM " + t.only + " AS t WHERE "
	if set := b.setList(nil, keepKey); set != "" {
		known = "UPDATE " + t.only + " AS t SET " + set + " WHERE "
	}
	where := b.matchKey(rowImage)
	if strings.HasPrefix(known, "UPDATE") {
		where += " RETURNING 1"
	}
	return b.statement("WITH known AS (" + known + where + ") " + into +
		"SELECT " + strings.Join(values, ", ") + " WHERE NOT EXISTS (SELECT FROM known)")
}

func valuesList(values []string) string { return "VALUES (" + strings.Join(values, ", ") + ")" }

func (t *targetTable) overriding() string {
	if t.always >= 0 {
		return "OVERRIDING SYSTEM VALUE "
	}
	return ""
}

func (t *targetTable) keyNames() []string {
	names := make([]string, len(t.Key))
	for i, c := range t.Key {
		names[i] = t.columns[c].name
	}
	return names
}

func (t *targetTable) onConflict() string { return t.onConflictSet(keepKey) }

func (t *targetTable) onConflictSet(key keyColumns) string {
	var set []string
	for i, col := range t.columns {
		if !col.omit && !col.always && (key == setKey || !t.key[i]) {
			set = append(set, col.name+" = EXCLUDED."+col.name)
		}
	}
	if t.soft.name != "" {
		set = append(set, t.soft.clear())
	}
	if len(set) == 0 {
		return "DO NOTHING"
	}
	return "DO UPDATE SET " + strings.Join(set, ", ")
}

// settable reports whether an update that leaves the key alone sets column i.
func (t *targetTable) settable(i int) bool { return !t.columns[i].omit && !t.key[i] }

// setList is "a = $1, b = $2" for the columns that row carries (all, if row is
// nil), with those of the key or without.
func (b *rowSQL) setList(row entrain.Row, key keyColumns) string {
	var set []string
	for i, col := range b.t.columns {
		carried := row == nil || row.State(i) != entrain.Unchanged
		if carried && !col.omit && !col.always && (key == setKey || !b.t.key[i]) {
			set = append(set, col.name+" = "+b.arg(i, rowImage))
		}
	}
	return strings.Join(set, ", ")
}

// update sets what the row carries. A column that is GENERATED ALWAYS cannot
// be set; where it changes, the row is made anew.
func (b *rowSQL) update(item *applyplan.Item) *statement {
	t := b.t
	key := keepKey
	if item.Op == applyplan.Rekey || len(t.Key) == 0 {
		key = setKey
	}
	always := t.always >= 0 && (key == setKey || !t.key[t.always]) && item.Row.State(t.always) != entrain.Unchanged
	set := b.setList(item.Row, key)
	if !always {
		if set == "" {
			return nil
		}
		return b.statement("UPDATE " + t.only + " AS t SET " + set + " WHERE " + b.match(item.Key) + t.soft.found())
	}
	same := "t." + t.columns[t.always].name + " IS NOT DISTINCT FROM " + b.arg(t.always, rowImage)
	match := b.match(item.Key) + t.soft.found()
	kept := "SELECT 1 FROM " + t.only + " AS t WHERE " + match + " AND " + same
	if set != "" {
		kept = "UPDATE " + t.only + " AS t SET " + set + " WHERE " + match + " AND " + same + " RETURNING 1"
	}
	names, values := b.remake(item.Row)
	return b.statement("WITH kept AS (" + kept + "), gone AS (DELETE FROM " + t.only + " AS t WHERE " + match +
		" AND NOT (" + same + ") RETURNING *), made AS (INSERT INTO " + t.sql + " (" + strings.Join(names, ", ") +
		") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(values, ", ") + " FROM gone RETURNING 1)" +
		" SELECT 1 FROM kept UNION ALL SELECT 1 FROM made")
}

// remake lists all columns of the target and their new values, which are the
// old ones where row has none.
func (b *rowSQL) remake(row entrain.Row) (names, values []string) {
	for i, col := range b.t.columns {
		if col.omit {
			continue
		}
		value := "gone." + col.name
		if row.State(i) != entrain.Unchanged {
			value = b.arg(i, rowImage)
		}
		names, values = append(names, col.name), append(values, value)
	}
	for _, name := range b.t.extra {
		names, values = append(names, name), append(values, "gone."+name)
	}
	return names, values
}

// match finds the row that image identifies: by key, or, without one, exactly
// one of the rows that are equal to it.
func (b *rowSQL) match(image entrain.Row) string {
	if len(b.t.Key) > 0 {
		return b.matchKey(keyImage)
	}
	return b.matchOne(image)
}

func (b *rowSQL) matchKey(from image) string {
	parts := make([]string, len(b.t.Key))
	for i, c := range b.t.Key {
		col := b.t.columns[c]
		parts[i] = "t." + col.name + " " + col.equal + " " + b.arg(c, from)
	}
	return strings.Join(parts, " AND ")
}

// matchOne compares whole rows by their image, which every type has, NULL
// included. Equality beside it lets an index help.
func (b *rowSQL) matchOne(image entrain.Row) string {
	t := b.t
	var conditions, columns, values []string
	for i, col := range t.columns {
		state := image.State(i)
		if col.omit || state == entrain.Unchanged {
			continue
		}
		name := "m." + col.name
		if state == entrain.Null {
			conditions = append(conditions, name+" IS NULL")
			continue
		}
		arg := b.arg(i, keyImage)
		columns, values = append(columns, name+"::"+col.cast), append(values, arg)
		if col.bytewise {
			conditions = append(conditions, name+" "+col.equal+" "+arg)
		}
	}
	if len(columns) > 0 {
		conditions = append(conditions,
			"ROW("+strings.Join(columns, ", ")+")::record *= ROW("+strings.Join(values, ", ")+")::record")
	}
	id := "ctid"
	if t.partitioned {
		id = "tableoid, ctid"
	}
	return "(" + id + ") = (SELECT " + id + " FROM " + t.only + " AS m WHERE " + strings.Join(conditions, " AND ") + " LIMIT 1)"
}

// setSQL puts the statement for many rows together: its parameters are arrays
// of text, one a column, in the order of columns.
type setSQL struct {
	sql     string
	columns []param
}

// updateSet updates many rows that carry the same columns; an empty statement
// means that there is nothing to set.
func updateSet(t *targetTable, row entrain.Row) setSQL {
	var s setSQL
	var set []string
	where, names := s.matchSet(t)
	for i, col := range t.columns {
		if t.settable(i) && row.State(i) != entrain.Unchanged {
			name := s.add(i, rowImage)
			names = append(names, name)
			set = append(set, col.name+" = "+col.ofText("s."+name))
		}
	}
	if len(set) > 0 {
		s.sql = "UPDATE " + t.only + " AS t SET " + strings.Join(set, ", ") + " FROM " + s.unnest(names) + " WHERE " + where + t.soft.found()
	}
	return s
}

// deleteSet deletes many rows by key.
func deleteSet(t *targetTable) setSQL {
	var s setSQL
	where, names := s.matchSet(t)
	from := "USING "
	if t.soft.name != "" {
		from = "FROM "
	}
	s.sql = t.deleting() + from + s.unnest(names) + " WHERE " + where
	return s
}

func (s *setSQL) add(column int, from image) string {
	s.columns = append(s.columns, param{column, from})
	return "c" + strconv.Itoa(len(s.columns))
}

func (s *setSQL) matchSet(t *targetTable) (where string, names []string) {
	parts := make([]string, len(t.Key))
	for i, c := range t.Key {
		col := t.columns[c]
		name := s.add(c, keyImage)
		names = append(names, name)
		parts[i] = "t." + col.name + " " + col.equal + " " + col.ofText("s."+name)
	}
	return strings.Join(parts, " AND "), names
}

func (s *setSQL) unnest(names []string) string {
	args := make([]string, len(names))
	for i := range names {
		args[i] = "$" + strconv.Itoa(i+1) + "::text[]"
	}
	return "unnest(" + strings.Join(args, ", ") + ") AS s(" + strings.Join(names, ", ") + ")"
}

// copySQL starts a COPY of whole rows.
func copySQL(t *targetTable) string {
	return "COPY " + t.sql + " (" + copied(t) + ") FROM STDIN"
}

// typesSQL has no rows; its description has the types of what is copied.
func typesSQL(t *targetTable) string {
	return "SELECT " + copied(t) + " FROM " + t.sql + " LIMIT 0"
}

// copied lists the columns of a COPY.
func copied(t *targetTable) string {
	var names []string
	for _, col := range t.columns {
		if !col.omit {
			names = append(names, col.name)
		}
	}
	return strings.Join(names, ", ")
}

// truncateSQL empties several tables in one operation, and no others: whatever
// the statement at the source reached by CASCADE or by inheritance is named in
// the event, if it is captured.
func truncateSQL(tr *entrain.Truncate, find func(*entrain.Table) *targetTable) string {
	if find(tr.Tables[0]).soft.name != "" {
		return truncateSoftly(tr, find)
	}
	names := make([]string, len(tr.Tables))
	for i, t := range tr.Tables {
		names[i] = find(t).only
	}
	sql := "TRUNCATE TABLE " + strings.Join(names, ", ")
	if tr.RestartIdentity {
		sql += " RESTART IDENTITY"
	}
	return sql
}
