package versiongate

import (
	"strconv"
	"strings"
)

// Table is what a statement has to know of a table at the target. The texts are SQL.
type Table struct {
	// Name, and the same without what inherits from it.
	Name, Only string
	// Remove is what a delete does: "" for a DELETE, else what follows SET of the UPDATE
	// that marks a row as deleted.
	Remove string
	// Live is a condition on rows t that are not marked as deleted; "" for none.
	Live string
	// Replay says that the changes were delivered before, so that one that is stale is
	// what was to be expected, and not queued.
	Replay bool
	// Overriding stands before the values of an INSERT, Conflict behind ON CONFLICT.
	Overriding, Conflict string
}

// Value is a column and the value that it gets or is compared with.
type Value struct {
	// Column is quoted; Equal is its type's equality operator, for columns of the key.
	Column, Equal string
}

// Fixed is how many parameters each statement has before those of the values: see
// FixedTypes.
const Fixed = 10

// FixedTypes are the oids of their types: the table's oid, the row's key, the change's
// era, version and ordinal, the pipeline, the table's name, the operation, the event's
// id, and its body.
var FixedTypes = [Fixed]uint32{26, 25, 23, 20, 20, 25, 25, 25, 25, 114}

// The numbers of rows that a statement returns.
const (
	Known  = 0 // the change was applied before, or is in the queue
	Passed = 1 // it was applied
	Queued = 2 // it came too late, and is in the queue now
)

const (
	newSQL   = "($3::int, $4::bigint, $5::bigint)"
	oldSQL   = "(old.era, old.version, old.ordinal)"
	floorSQL = "(floor.era, floor.version, floor.ordinal)"

	knownSQL = "WITH old AS MATERIALIZED (SELECT era, version, ordinal, state FROM entrain.row_version WHERE relation = $1 AND key = $2),\n" +
		"floor AS MATERIALIZED (SELECT era, version, ordinal FROM entrain.gate WHERE pipeline = $6 AND kind = 'floor' AND name = $7),\n"

	// reasonSQL says why a change is in the queue: its row lacks; or the row's version is
	// that of a change which left columns out, so that this one's may be nowhere; or it is
	// older than the row and nothing lacks.
	reasonSQL = "CASE WHEN " + newSQL + " > " + floorSQL + " AND (old.era IS NULL OR " + newSQL + " > " + oldSQL + ") THEN 'missing' " +
		"WHEN old.state = 'p' THEN 'partial' ELSE 'stale' END"

	openSQL = "EXISTS (SELECT FROM gate)"
)

// queue puts the change into the queue, for the reason, if the gate is shut.
func queue(reason, shut string) string {
	newer := "CASE WHEN " + oldSQL + " > " + floorSQL + " THEN old."
	pick := func(column string) string { return newer + column + " ELSE floor." + column + " END" }
	return "late AS (INSERT INTO entrain.reconciliation (pipeline, id, key, table_name, op, reason, era, version, ordinal, row_era, row_version, row_ordinal, body)\n" +
		"SELECT $6, $9::text, $2, $7, $8::text, " + reason + ", $3::int, $4::bigint, $5::bigint, " + pick("era") + ", " + pick("version") + ", " + pick("ordinal") + ", $10::json\n" +
		"FROM floor LEFT JOIN old ON true WHERE " + shut + "(old.era IS NULL OR " + oldSQL + " <> " + newSQL + ") AND " + floorSQL + " <> " + newSQL + "\n" +
		"ON CONFLICT DO NOTHING RETURNING 1)\n"
}

// gated is the statement that does what do says if the compare lets it pass, and notes
// the version with the state; more is a further condition.
func (t *Table) gated(state, more, do string) string {
	shut := "NOT " + openSQL + " AND "
	if t.Replay {
		shut += reasonSQL + " <> 'stale' AND "
	}
	return knownSQL +
		"gate AS (INSERT INTO entrain.row_version AS g (relation, key, era, version, ordinal, state)\n" +
		"SELECT $1, $2, $3, $4, $5, '" + state + "' FROM floor WHERE " + newSQL + " > " + floorSQL + more + "\n" +
		"ON CONFLICT (relation, key) DO UPDATE SET era = EXCLUDED.era, version = EXCLUDED.version, ordinal = EXCLUDED.ordinal, state = EXCLUDED.state\n" +
		"WHERE (g.era, g.version, g.ordinal) < " + newSQL + " RETURNING 1),\n" +
		"done AS (" + do + "),\n" + queue(reasonSQL, shut) +
		"SELECT 1 FROM gate UNION ALL SELECT 1 FROM late UNION ALL SELECT 1 FROM late"
}

// Put stores a whole row, whether there is one or not. The parameters of the values
// follow the fixed ones.
func (t *Table) Put(values []Value) string {
	names, args := make([]string, len(values)), make([]string, len(values))
	for i, v := range values {
		names[i], args[i] = v.Column, arg(i)
	}
	return t.gated("w", "", "INSERT INTO "+t.Name+" AS t ("+strings.Join(names, ", ")+") "+t.Overriding+
		"SELECT "+strings.Join(args, ", ")+" WHERE "+openSQL+" ON CONFLICT "+t.Conflict)
}

// Patch sets some columns of a row that is there. The parameters of the key follow the
// fixed ones, then those of set. Without the row, or if it is marked
// as deleted, the change is in the queue, and the
// row's version is what it was.
func (t *Table) Patch(key, set []Value) string {
	list := make([]string, len(set))
	for i, v := range set {
		list[i] = v.Column + " = " + arg(len(key)+i)
	}
	where := match(key)
	if t.Live != "" {
		where += " AND " + t.Live
	}
	do := "SELECT 1"
	if len(list) > 0 {
		do = "UPDATE " + t.Only + " AS t SET " + strings.Join(list, ", ") + " WHERE " + where + " AND " + openSQL
	}
	return t.gated("p", " AND EXISTS (SELECT FROM "+t.Only+" AS t WHERE "+where+") AND NOT EXISTS (SELECT FROM old WHERE state = 'd')", do)
}

// Delete removes a row, or marks it as deleted. The parameters of the key follow the
// fixed ones.
func (t *Table) Delete(key []Value) string {
	where := match(key) + " AND " + openSQL
	if t.Remove != "" {
		return t.gated("d", "", "UPDATE "+t.Only+" AS t SET "+t.Remove+" WHERE "+where)
	}
	return t.gated("d", "", "DELETE FROM "+t.Only+" AS t WHERE "+where)
}

// Park puts a change into the queue that cannot be applied late, for the reason, unless
// it was applied. It has the fixed parameters only.
func Park(reason string) string {
	return knownSQL + queue("'"+reason+"'", "") + "SELECT 1 FROM late UNION ALL SELECT 1 FROM late"
}

func match(key []Value) string {
	parts := make([]string, len(key))
	for i, v := range key {
		parts[i] = "t." + v.Column + " " + v.Equal + " " + arg(i)
	}
	return strings.Join(parts, " AND ")
}

func arg(i int) string { return "$" + strconv.Itoa(Fixed+1+i) }
