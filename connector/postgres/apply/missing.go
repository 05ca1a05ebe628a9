package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// alikeSQL lists the tables of the target whose columns have the names $1 (JSON),
// with one row more than are shown.
const alikeSQL = `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition AND n.nspname NOT IN ('entrain', 'pg_catalog', 'information_schema')
GROUP BY n.nspname, c.relname HAVING array_agg(a.attname::text ORDER BY a.attname::text COLLATE "C") =
  ARRAY(SELECT name FROM json_array_elements_text($1::json) AS x(name) ORDER BY name COLLATE "C")
ORDER BY 1, 2 LIMIT 6`

// maxAlike is how many tables are shown that a missing one may have been.
const maxAlike = 5

// missing is the stop for a table that the target does not have. It may be one that
// was renamed: the log has the new name only, so that it is a guess from the
// columns, and never followed.
func (c *catalog) missing(ctx context.Context, t *entrain.Table) error {
	names := make([]string, len(t.Columns))
	for i, column := range t.Columns {
		names[i] = column.Name
	}
	list, err := json.Marshal(names)
	if err != nil {
		return err
	}
	rows, err := dial.QueryRows(ctx, c.conn, alikeSQL, string(list))
	if err != nil {
		return fmt.Errorf("look for table %s under another name at the target: %w", t, err)
	}
	stop := &entrain.Stop{
		Code: codeMissing,
		What: fmt.Sprintf("table %s does not exist at the target", t),
		Why:  "changes go to the table with the source's schema and name, or those that a rule gives it, and tables are not made",
		Next: "entrain check --fix-sql --only table_missing FILE   # prints the SQL that makes it; then: entrain run FILE; for rows that it had: entrain table resync FILE TABLE\n" +
			"or have it made: sink.create_tables: true in FILE; then: entrain run FILE\n" +
			fmt.Sprintf("or leave it out: source.tables: {exclude: [%q]} in FILE, by the name that it has at the source; then: entrain run FILE", t),
	}
	if len(rows) > 0 && len(rows) <= maxAlike {
		c.renamed(stop, t, rows)
	}
	return stop
}

const (
	codeMissing = "table_missing"
	codeRenamed = "table_renamed"
)

// lacksTable reports whether the stop is about a table that is not there.
func lacksTable(s *entrain.Stop) bool { return s.Code == codeMissing || s.Code == codeRenamed }

// renamed adds to the stop for t that it may be one of the target's tables.
func (c *catalog) renamed(stop *entrain.Stop, t *entrain.Table, alike [][]string) {
	anew := stop.Next
	if c.makes {
		anew = runAgain + "   # makes it (sink.create_tables) and copies its rows, if snapshot.mode lets rows be copied"
	}
	var names, renames []string
	for _, row := range alike {
		names = append(names, sqltext.Table(row[0], row[1]))
		renames = append(renames, renameSQL(row[0], row[1], t))
	}
	if len(renames) > 1 {
		renames = []string{"-- one of:\n-- " + strings.Join(renames, "\n-- ")}
	}
	stop.Code = codeRenamed // it is not made while changes flow
	stop.What += fmt.Sprintf("; %s has its columns there", strings.Join(names, ", "))
	stop.Why = "it was renamed at the source, which is not followed (sink.schema_changes.rename: stop; apply is for columns), or it is another table"
	stop.Next = strings.Join(renames, "\n") + "\n" + thenRun + "\n-- or, if it is another table: " + strings.ReplaceAll(anew, "\n", "\n-- ")
}

// renameSQL gives the target's table the name that t has.
func renameSQL(schema, name string, t *entrain.Table) string {
	var statements []string
	if schema != t.Schema {
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s SET SCHEMA %s;", sqltext.Table(schema, name), sqltext.Ident(t.Schema)))
	}
	if name != t.Name {
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s RENAME TO %s;", sqltext.Table(t.Schema, name), sqltext.Ident(t.Name)))
	}
	return strings.Join(statements, " ")
}
