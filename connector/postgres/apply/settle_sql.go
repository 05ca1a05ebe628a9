package apply

import (
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
)

// settle is a key change that may find the old row or not, and the new one or not.
// The old row is moved where its new key is free, so that what only the target has
// and what refers to it stays; where it is not, the old one goes. A whole row is
// stored in any case; of one that is not, the row with the new key gets what it
// carries. Two texts of one key are one row, which is not deleted.
func (b *rowSQL) settle(item *applyplan.Item) *statement {
	t := b.t
	whole := !slices.ContainsFunc(t.all(), func(i int) bool { return item.Row.State(i) == entrain.Unchanged })
	old, now := b.matchKey(keyImage), b.matchKey(rowImage)
	there := "there AS (SELECT 1 FROM " + t.only + " AS t WHERE " + now + ")"
	with := "WITH " + there + ", " + b.moved(item, old, now)
	if !whole {
		return b.statement(with + b.changeRow(item, now))
	}
	var names, values []string
	for i, col := range t.columns {
		if !col.omit {
			names, values = append(names, col.name), append(values, b.arg(i, rowImage))
		}
	}
	return b.statement(with + ", made AS (INSERT INTO " + t.sql + " AS t (" + strings.Join(names, ", ") + ") " + t.overriding() +
		"SELECT " + strings.Join(values, ", ") + " WHERE NOT EXISTS (SELECT FROM moved) ON CONFLICT (" +
		strings.Join(t.keyNames(), ", ") + ") " + t.onConflictSet(setKey) +
		" RETURNING 1) SELECT 1 FROM moved UNION ALL SELECT 1 FROM made")
}

// all are the columns that a row at the target takes from the source.
func (t *targetTable) all() []int {
	var columns []int
	for i, col := range t.columns {
		if !col.omit {
			columns = append(columns, i)
		}
	}
	return columns
}

// moved gives the old row its new key and values, where that key is free, and
// removes it where it is not. It is there then, marked or not. A row whose key is GENERATED ALWAYS no UPDATE can
// move: it is made anew.
func (b *rowSQL) moved(item *applyplan.Item, old, now string) string {
	t := b.t
	gone := "gone AS (DELETE FROM " + t.only + " AS t WHERE " + old + " AND NOT (" + now + ")"
	if t.always < 0 || !t.key[t.always] {
		set := b.setList(item.Row, setKey)
		if t.soft.name != "" {
			set += ", " + t.soft.clear()
		}
		return "moved AS (UPDATE " + t.only + " AS t SET " + set + " WHERE " + old +
			" AND NOT EXISTS (SELECT FROM there) RETURNING 1), " + gone + " AND EXISTS (SELECT FROM there)) "
	}
	names, values := b.remake(item.Row)
	if i := slices.Index(names, t.soft.name); i >= 0 {
		values[i] = t.soft.unset()
	}
	return gone + " RETURNING *), moved AS (INSERT INTO " + t.sql + " (" + strings.Join(names, ", ") +
		") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(values, ", ") +
		" FROM gone WHERE NOT EXISTS (SELECT FROM there) RETURNING 1) "
}

// changeRow sets what the row carries in the one that has the new key already. It
// counts as the statement's row, as does one that was moved.
func (b *rowSQL) changeRow(item *applyplan.Item, now string) string {
	set := b.setList(item.Row, keepKey)
	if set == "" {
		return "SELECT 1 FROM moved"
	}
	return "UPDATE " + b.t.only + " AS t SET " + set + " WHERE " + now
}
