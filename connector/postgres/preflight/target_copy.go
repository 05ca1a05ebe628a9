package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// loadState is what the catalog says about entrain.load, and the position about
// the copy of existing rows.
type loadState struct {
	table, writable bool
	over            bool // the stream has begun
}

const (
	loadSQL = `SELECT (c.oid IS NOT NULL)::text, coalesce(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
  AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'), false)::text
FROM (SELECT) one LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'entrain') ON c.relname = 'load'`

	begunSQL = `SELECT 1::text FROM entrain.position WHERE pipeline = $1 AND source = $2 AND partition = 0 AND position <> ''`

	loadingSQL = `SELECT schema_name, table_name FROM entrain.load WHERE pipeline = $1`

	// targetEnforcedSQL lists tables with references that are checked in our
	// role when a row is stored; those of partitions count as the root's.
	targetEnforcedSQL = `SELECT DISTINCT child::text FROM (
  SELECT coalesce(pg_partition_root(k.conrelid)::oid, k.conrelid) AS child FROM pg_constraint k
  WHERE k.contype = 'f' AND EXISTS (SELECT FROM pg_trigger g WHERE g.tgconstraint = k.oid
    AND g.tgfoid = 'pg_catalog."RI_FKey_check_ins"()'::regprocedure
    AND g.tgenabled IN ('A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END))) k
WHERE child = ANY ($1::oid[])`
)

// readLoads finds out what the sink has of copies.
func (f *targetFacts) readLoads(ctx context.Context, ask Ask) error {
	rows, err := ask(ctx, loadSQL)
	if err != nil {
		return fmt.Errorf("look for the table entrain.load: %w", err)
	}
	f.load.table, f.load.writable = rows[0][0] == "true", rows[0][1] == "true"
	if f.position.table && f.position.schemaUsable && f.position.tableWritable {
		if rows, err = ask(ctx, begunSQL, f.cfg.Pipeline, f.cfg.Source); err != nil {
			return fmt.Errorf("read the position: %w", err)
		}
		f.load.over = len(rows) > 0
	}
	if !f.load.writable || !f.position.schemaUsable {
		return nil
	}
	if rows, err = ask(ctx, loadingSQL, f.cfg.Pipeline); err != nil {
		return fmt.Errorf("read entrain.load: %w", err)
	}
	for _, r := range rows {
		f.loading[tableName{r[0], r[1]}] = true
	}
	return nil
}

func (f *targetFacts) copying() bool { return f.cfg.Copies && !f.load.over }

// markCopied tells the tables whose existing rows will come.
func (f *targetFacts) markCopied() {
	if !f.copying() {
		return
	}
	byName := map[tableName]*entrain.TableCopy{}
	for i := range f.source.Copies {
		c := &f.source.Copies[i]
		byName[tableName{c.Table.Schema, c.Table.Name}] = c
	}
	for _, t := range f.tables {
		t.copied = byName[tableName{t.from.Schema, t.from.Name}]
	}
}

// makes reports that the sink will make the table, which is missing.
func (f *targetFacts) makes(t *targetTable) bool {
	return t.oid == "" && f.cfg.CreateTables && t.copied != nil && t.copied.Defined
}

// atOnce is how many tables one query looks into: it locks them all.
const atOnce = 50

// readFilled looks for rows in the tables for which it matters. A table whose
// lock somebody has is left alone, with those beside it: nothing may hold an
// examination up.
func (f *targetFacts) readFilled(ctx context.Context, ask Ask) error {
	var asked []*targetTable
	for _, t := range f.tables {
		if t.copied != nil && t.plain() && t.usable && !slices.Contains(t.lacking, "SELECT") && len(t.key()) == 0 {
			asked = append(asked, t)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	if _, err := ask(ctx, "SET lock_timeout = '200ms'"); err != nil {
		return fmt.Errorf("look for rows: %w", err)
	}
	for some := range slices.Chunk(asked, atOnce) {
		parts := make([]string, len(some))
		for i, t := range some {
			parts[i] = fmt.Sprintf("SELECT '%d'::text WHERE EXISTS (SELECT FROM %s)", i, t.only())
		}
		rows, err := ask(ctx, strings.Join(parts, " UNION ALL "))
		if err != nil && !isBusy(err) {
			return fmt.Errorf("look for rows: %w", err)
		}
		for _, r := range rows {
			some[integer(r[0])].filled = true
		}
	}
	return nil
}

// only is the table without those that inherit from it.
func (t *targetTable) only() string {
	if t.kind == "p" {
		return t.String()
	}
	return "ONLY " + t.String()
}

// isBusy reports that a lock was not to be had, or that the table is gone
// meanwhile.
func isBusy(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && slices.Contains([]string{"55P03", "42P01"}, pgErr.Code)
}

// judgeLoadRights asks whether copies can be written down and have a place to
// wait at. Where the position has none, its finding's fix is for both.
func judgeLoadRights(f *targetFacts) []entrain.Finding {
	p := f.position
	if !f.copying() || f.superuser || !p.schema || !f.keepsPosition() {
		return nil
	}
	role := "role " + sqltext.Ident(f.role)
	waits := slices.ContainsFunc(f.tables, func(t *targetTable) bool { return t.copied != nil && (t.refers || len(t.fires) > 0) })
	switch {
	case f.load.table && !f.load.writable || !f.load.table && !p.schemaWritable:
		return one(failure(f.where, role+" may not make or use the table entrain.load, in which the copying of existing rows is written down",
			f.ownSchema()...))
	case p.schemaWritable:
		return nil
	case waits:
		return one(failure(f.where, role+" may not make tables in the schema entrain, where rows wait that have references or triggers at the target",
			f.ownSchema()...))
	}
	return one(warning(f.where, role+" may not make tables in the schema entrain, where rows wait for a table that has some already",
		f.ownSchema()...))
}

// judgeNotEmpty: nothing tells the rows of a table without a key from those
// that will be copied. The fix keeps them and copies none; which rows go is not
// for us to decide.
func judgeNotEmpty(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.tables {
		if !t.filled || f.loading[tableName{t.from.Schema, t.from.Name}] {
			continue
		}
		pattern := strings.ReplaceAll(strconv.Quote(f.cfg.Pattern(t.copied.Schema, t.copied.Name)), "${", "$${")
		found = append(found, failure("table "+t.String(), "it has rows, no key tells them from those that would be copied, and the copy is refused. "+
			"If they are no longer wanted, TRUNCATE "+t.String()+" at the target; if they are the source's "+
			"already, leave the table out of the copy", entrain.Fix{Where: "pipeline file", Config: "snapshot:\n  tables:\n    exclude: [" + pattern + "]\n"}))
	}
	return found
}

// judgeStaged says which tables get their rows in two steps.
func judgeStaged(f *targetFacts) []entrain.Finding {
	var names []string
	for _, t := range f.tables {
		if t.copied != nil && t.refers {
			names = append(names, t.String())
		}
	}
	if len(names) == 0 {
		return nil
	}
	return one(warning("tables "+some(names), "they have foreign keys, which no row may come ahead of: their existing rows wait in the schema entrain "+
		"until all tables have come, which takes their size once more, and longer; foreign keys that are made afterwards spare that"))
}
