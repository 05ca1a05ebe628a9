package snapshot

import (
	"context"
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// keyedTable is a table that is read by its key.
type keyedTable struct {
	*published
	key     tableKey
	refused string // why not, if so
	root    bool   // it is a partitioned one
	// expected is the filter that the table had when the tables were listed.
	expected string
	// mark changes whenever what is known here may have.
	mark string
	// width is about how many bytes a row has; 0: not known yet.
	width int
}

// leafFor stands for the table in messages.
func (t *keyedTable) leafFor() *leaf { return &leaf{schema: t.shape.Schema, table: t.shape.Name} }

func (t *keyedTable) name() string { return sqltext.Table(t.shape.Schema, t.shape.Name) }

// source is what to read from: a table alone, without those that inherit from it,
// or all partitions.
func (t *keyedTable) source() string {
	if t.root {
		return t.name()
	}
	return "ONLY " + t.name()
}

// analysedRows is how many rows the table had when it was analysed, -1 if it
// never was.
func (t *table) analysedRows() int64 {
	var rows float64
	for _, l := range t.leaves {
		if l.analysed < 0 {
			return -1
		}
		rows += l.analysed
	}
	return int64(rows)
}

// notLoggedSQL is how many partitions of pg_class c have rows that are not in the
// log. The server's own function for that waits for tables that are locked.
const notLoggedSQL = `(WITH RECURSIVE tree(oid) AS (SELECT c.oid UNION ALL SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid)
    SELECT count(*) FROM tree JOIN pg_class l ON l.oid = tree.oid WHERE l.relkind NOT IN ('r', 'p') OR l.relpersistence <> 'p')`

const (
	// rootsSQL lists the partitioned ones among tables, and whether the log has
	// not all of their rows.
	rootsSQL = `SELECT c.oid::text, (` + notLoggedSQL + ` > 0)::text
FROM pg_class c WHERE c.relkind = 'p' AND c.oid = ANY ($1::oid[])`

	// tableMarkSQL is something that changes whenever a table's shape, its key or
	// what it is published as do; for FROM … WHERE of pg_class c.
	tableMarkSQL = `concat_ws(' ', c.oid, c.relnamespace, quote_ident(n.nspname), quote_ident(c.relname), c.relkind, c.relreplident, c.relpersistence,
  '[' || (SELECT string_agg(concat_ws(' ', a.attnum, quote_ident(a.attname), a.atttypid, a.atttypmod, a.attgenerated, t.xmin), ',' ORDER BY a.attnum)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) || ']',
  '[' || (SELECT string_agg(concat_ws(' ', i.indexrelid, i.xmin), ',' ORDER BY i.indexrelid)
    FROM pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)) || ']',
  '[' || (SELECT string_agg(u.relid::oid::text, ',') FROM pg_partition_ancestors(c.oid) u) || ']',
  CASE WHEN c.relkind = 'p' THEN ` + notLoggedSQL + ` END)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace`
)

// keyed returns the tables as they are to be read by key, by their oids.
func (c catalog) keyed(ctx context.Context) (map[string]*keyedTable, error) {
	marks, err := c.marks(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the tables: %w", err)
	}
	shapes, err := c.shapes(ctx)
	if err != nil {
		return nil, err
	}
	tables := map[string]*keyedTable{}
	for _, p := range shapes {
		t := &keyedTable{published: p, mark: marks[p.oid], expected: p.filter}
		if p.shape.FullIdentity {
			t.refused = "its REPLICA IDENTITY is FULL: no columns are known to identify a row"
		}
		tables[p.oid] = t
	}
	if err := c.roots(ctx, tables); err != nil {
		return nil, fmt.Errorf("look for partitioned tables: %w", err)
	}
	if err := c.keys(ctx, tables); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return tables, nil
}

// marks of what may be listed are asked for before it: what changes in between is
// a change behind them. One mark stands for the publications and each table.
func (c catalog) marks(ctx context.Context) (map[string]string, error) {
	ours, err := dial.QueryRow(ctx, c.conn, "SELECT "+c.publicationsMark())
	if err != nil {
		return nil, err
	}
	rows, err := dial.QueryRows(ctx, c.conn, "SELECT c.oid::text, "+tableMarkSQL+" WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p'"+
		" AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'")
	if err != nil {
		return nil, err
	}
	marks := make(map[string]string, len(rows))
	for _, r := range rows {
		marks[r[0]] = ours[0] + " " + r[1]
	}
	return marks, nil
}

// markOf is a query for the mark of a table by its name, none if there is no such
// table. It has no parameters.
func (c catalog) markOf(name string) string {
	return "SELECT " + c.publicationsMark() + " || ' ' || " + tableMarkSQL + " WHERE c.oid = to_regclass(" + sqltext.Literal(name) + ")"
}

// publicationsMark is an expression: a short mark of the publications, which may
// have many tables.
func (c catalog) publicationsMark() string {
	mark := strings.Replace(markSQL(c.cfg.Version), "$1", sqltext.Literal(jsonText(c.cfg.Publications)), 1)
	return `hashtextextended((` + mark + `) COLLATE "C", 0)::text`
}

func (c catalog) roots(ctx context.Context, tables map[string]*keyedTable) error {
	var oids []string
	for oid := range tables {
		oids = append(oids, oid)
	}
	rows, err := dial.QueryRows(ctx, c.conn, rootsSQL, arrayText(oids))
	for _, r := range rows {
		t := tables[r[0]]
		t.root = true
		if r[1] == "true" && t.refused == "" {
			t.refused = "it has partitions whose rows are not in the log: foreign or unlogged tables"
		}
	}
	return err
}

// named finds a table by the name that it has in a shape.
func named(tables map[string]*keyedTable, shape *entrain.Table) *keyedTable {
	for _, t := range tables {
		if t.shape.Schema == shape.Schema && t.shape.Name == shape.Name {
			return t
		}
	}
	return nil
}
