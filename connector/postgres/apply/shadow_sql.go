package apply

import (
	"strings"

	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

const (
	// doubleColumnsSQL has the quoted names of a double's columns, a line each;
	// none if it is not there.
	doubleColumnsSQL = `SELECT coalesce(string_agg('"' || replace(attname, '"', '""') || '"', E'\n'), '')
FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`

	// tiedSQL lists the tables that references tie to one, and whether they have doubles.
	tiedSQL = `SELECT (SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ends.other), (to_regclass('entrain.double_' || ends.other::oid::text) IS NOT NULL)::text
FROM pg_constraint k, LATERAL (VALUES (k.conrelid, k.confrelid), (k.confrelid, k.conrelid)) AS ends(one, other)
WHERE k.contype = 'f' AND ends.one = $1::oid AND ends.other <> ends.one`

	// doublesSQL lists the doubles that begin with a pipeline's remark.
	doublesSQL = `SELECT c.relname::text, obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'entrain' AND c.relkind = 'r' AND c.relname LIKE 'double\_%' AND starts_with(obj_description(c.oid, 'pg_class'), $1)
ORDER BY c.relname`
)

// doubleRemark begins the comment on each double of a pipeline.
func doubleRemark(pipeline string) string {
	return "entrain, pipeline " + sqltext.Ident(pipeline) + ": rows that will replace those of "
}

// doubleSQL makes a double, empty. It has what checks a row for itself, so that a
// row that the table would not take is refused when it comes; of the indexes it
// has that of the key only.
func doubleSQL(t *targetTable, pipeline string) []string {
	return []string{
		"DROP TABLE IF EXISTS " + t.sql,
		"CREATE TABLE " + t.sql + " (LIKE " + t.real.sql + " INCLUDING DEFAULTS INCLUDING CONSTRAINTS" +
			" INCLUDING GENERATED INCLUDING IDENTITY INCLUDING STORAGE)",
		"CREATE UNIQUE INDEX ON " + t.sql + " (" + strings.Join(t.keyNames(), ", ") + ")",
		"COMMENT ON TABLE " + t.sql + " IS " + sqltext.Literal(doubleRemark(pipeline)+t.Table.String()),
	}
}

// swapStatements put a double in place: what comes before, one of three ways, what
// comes after.
type swapStatements struct {
	before, after []string
	ways          [3][]string
}

// swapSQL makes them. The session's settings are for rows by key; here whole
// tables are joined.
func swapSQL(t *targetTable) swapStatements {
	s := swapParts(t)
	missing := "DELETE FROM " + t.real.only + " AS r WHERE NOT EXISTS (SELECT FROM " + t.only + " AS d WHERE " + s.match + ")"
	upsert := "INSERT INTO " + t.real.sql + " AS t (" + s.columns + ") " + t.overriding() + "SELECT " + s.fromDouble +
		" FROM " + t.only + " AS d WHERE NOT EXISTS (SELECT FROM " + t.real.only + " AS r WHERE " + s.match + " AND " + s.same +
		") ON CONFLICT (" + strings.Join(t.keyNames(), ", ") + ") " + t.onConflictSet(setKey)
	fresh := "INSERT INTO " + t.real.sql + " AS t (" + s.columns + ") " + t.overriding() + "SELECT " + s.fromDouble +
		" FROM " + t.only + " AS d WHERE NOT EXISTS (SELECT FROM " + t.real.only + " AS r WHERE " + s.match + ")"
	change := []string{upsert}
	if t.alwaysOutsideKey() {
		name := t.columns[t.always].name
		change = []string{s.remake(t, "r."+name+" IS DISTINCT FROM d."+name), upsert}
	}
	return swapStatements{
		before: []string{
			"LOCK TABLE " + t.real.sql + " IN SHARE ROW EXCLUSIVE MODE",
			"ANALYZE " + t.sql,
			"SET LOCAL enable_seqscan = on",
		},
		ways: [3][]string{
			append([]string{missing}, change...),
			append(change[:len(change):len(change)], missing),
			{missing, s.remake(t, "NOT ("+s.same+")"), fresh},
		},
		after: []string{"SET LOCAL enable_seqscan TO DEFAULT", "DROP TABLE " + t.sql},
	}
}

// swapPart are pieces of those statements; r is a row of the table, d one of the
// double.
type swapPart struct {
	columns, fromDouble string
	match, same         string
}

func swapParts(t *targetTable) swapPart {
	var names, olds, news, match []string
	for _, i := range t.all() {
		names = append(names, t.columns[i].name)
		olds = append(olds, "r."+t.columns[i].name)
		news = append(news, "d."+t.columns[i].name)
	}
	for _, i := range t.Key {
		col := t.columns[i]
		match = append(match, "r."+col.name+" "+col.equal+" d."+col.name)
	}
	return swapPart{
		columns:    strings.Join(names, ", "),
		fromDouble: strings.Join(news, ", "),
		match:      strings.Join(match, " AND "),
		same:       "ROW(" + strings.Join(olds, ", ") + ")::record *= ROW(" + strings.Join(news, ", ") + ")::record",
	}
}

// remake deletes the rows that differ so and then, once all are gone, stores the
// double's, with what only the target has.
func (s *swapPart) remake(t *targetTable, differ string) string {
	extra := ""
	fromGone := ""
	for _, name := range t.extra {
		extra += ", " + name
		fromGone += ", r." + name
	}
	return "WITH gone AS (DELETE FROM " + t.real.only + " AS r USING " + t.only + " AS d WHERE " + s.match + " AND " + differ +
		" RETURNING r.*) INSERT INTO " + t.real.sql + " (" + s.columns + extra + ") OVERRIDING SYSTEM VALUE SELECT " + s.fromDouble + fromGone +
		" FROM gone AS r JOIN " + t.only + " AS d ON " + s.match + " WHERE (SELECT count(*) FROM gone) >= 0"
}
