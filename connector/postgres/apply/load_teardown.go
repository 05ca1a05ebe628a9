package apply

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// readsLoadsSQL has a row if entrain.load is there and may be read.
const readsLoadsSQL = `SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'entrain' AND c.relname = 'load' AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')`

// teardownLoads lists what loads of the pipeline have left: their rows in
// entrain.load and their stage tables.
func (s *Sink) teardownLoads(ctx context.Context, conn *pgconn.PgConn) ([]entrain.Removal, error) {
	found, err := dial.QueryRow(ctx, conn, readsLoadsSQL)
	if err != nil {
		return nil, fmt.Errorf("look for the table entrain.load: %w", err)
	}
	if found == nil {
		return nil, nil
	}
	rows, err := dial.QueryRows(ctx, conn, loadsSQL, s.cfg.Pipeline)
	if err != nil {
		return nil, fmt.Errorf("read entrain.load: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	var names, half, statements []string
	for _, row := range rows {
		t := &entrain.Table{Schema: row[0], Name: row[1]}
		names = append(names, t.String())
		mode := loadMode(row[2])
		if makerOf(row[3]) == madeByUs && mode != modeFilled && mode != modeMerged {
			half = append(half, t.String())
		}
		if mode == modeStaging || mode == modeStaged {
			statements = append(statements, "DROP TABLE IF EXISTS "+stageName(s.cfg.Pipeline, t))
		}
	}
	statements = append(statements, "DELETE FROM entrain.load WHERE pipeline = "+sqltext.Literal(s.cfg.Pipeline))
	what := fmt.Sprintf("notes and stages of loads of pipeline %q in %s (rows that are in the tables already stay: TRUNCATE them before a new copy): %s",
		s.cfg.Pipeline, dial.ServerName(s.conn), strings.Join(names, ", "))
	if half != nil {
		what += "; made and not finished, so without keys and indexes (DROP them before a new copy): " + strings.Join(half, ", ")
	}
	return []entrain.Removal{{
		What: what,
		SQL:  strings.Join(statements, ";\n") + ";",
		Do: func(ctx context.Context) error {
			return dial.InSession(ctx, s.conn, func(conn *pgconn.PgConn) error {
				for _, sql := range statements {
					if err := run(ctx, conn, sql); err != nil && dial.SQLState(err) != stateUndefinedTable {
						return err
					}
				}
				return nil
			})
		},
	}}, nil
}

// teardownDoubles lists the doubles of the pipeline: each has the pipeline's name
// in its comment.
func (s *Sink) teardownDoubles(ctx context.Context, conn *pgconn.PgConn) ([]entrain.Removal, error) {
	remark := doubleRemark(s.cfg.Pipeline)
	rows, err := dial.QueryRows(ctx, conn, doublesSQL, remark)
	if err != nil {
		return nil, fmt.Errorf("look for doubles of tables: %w", err)
	}
	var removals []entrain.Removal
	for _, row := range rows {
		sql := "DROP TABLE IF EXISTS entrain." + row[0]
		removals = append(removals, entrain.Removal{
			What: fmt.Sprintf("rows that were to replace those of table %s, in %s (the table keeps its own)",
				strings.TrimPrefix(row[1], remark), dial.ServerName(s.conn)),
			SQL: sql + ";",
			Do: func(ctx context.Context) error {
				return dial.InSession(ctx, s.conn, func(conn *pgconn.PgConn) error { return run(ctx, conn, sql) })
			},
		})
	}
	return removals, nil
}

// dropLoadTable is part of dropping the schema.
func dropLoadTable(ctx context.Context, conn *pgconn.PgConn) error {
	if err := run(ctx, conn, "LOCK TABLE entrain.load IN ACCESS EXCLUSIVE MODE"); err != nil {
		return err
	}
	left, err := dial.QueryRow(ctx, conn, `SELECT count(*)::text FROM entrain.load`)
	if err != nil {
		return err
	}
	if left[0] != "0" {
		return fmt.Errorf("drop schema entrain: %s rows of loads are still in it", left[0])
	}
	return run(ctx, conn, "DROP TABLE entrain.load")
}
