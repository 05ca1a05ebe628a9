package apply

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

const (
	// ownsPositionSQL has a row if the position table is there and may be
	// read; it says whether our role may drop it and make it again.
	ownsPositionSQL = `SELECT (pg_has_role(c.relowner, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE'))::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'entrain' AND c.relname = 'position' AND has_schema_privilege(n.oid, 'USAGE')
  AND has_table_privilege(c.oid, 'SELECT')`

	// ownsSchemaSQL has a row if our role may drop the schema entrain and make it
	// again, and nothing is in it but our tables.
	ownsSchemaSQL = `SELECT 1 FROM pg_namespace n WHERE n.nspname = 'entrain' AND pg_has_role(n.nspowner, 'USAGE')
  AND has_database_privilege(current_database(), 'CREATE') AND NOT EXISTS (
    SELECT FROM pg_depend d LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
      AND (c.relname IN ('position', 'load', 'dead_letter', 'row_version', 'row_journal', 'gate', 'reconciliation') OR c.relname LIKE 'stage\_%' AND c.relkind = 'r'
        OR c.relname LIKE 'double\_%' AND c.relkind IN ('r', 'S')) IS NOT TRUE)`

	// ownRowsSQL lists the pipelines of our rows: deliveries of several partitions of
	// a stream have one each. Names of pipelines have no colon otherwise.
	ownRowsSQL = `SELECT DISTINCT pipeline FROM entrain.position
WHERE (pipeline = $1 OR starts_with(pipeline, $1 || ':')) AND source = $2 ORDER BY 1`

	otherRowsSQL = `SELECT count(*)::text FROM entrain.position
WHERE NOT ((pipeline = $1 OR starts_with(pipeline, $1 || ':')) AND source = $2)`
)

// Teardown lists what loads have left, doubles, the position rows, and the position table
// with its schema if nothing else is in them and our role could make them again;
// see [entrain.Teardowner].
func (s *Sink) Teardown(ctx context.Context) ([]entrain.Removal, error) {
	conn, err := dial.Connect(ctx, s.conn)
	if err != nil {
		return nil, err
	}
	defer dial.Close(ctx, conn)
	owns, err := dial.QueryRow(ctx, conn, ownsPositionSQL)
	if err != nil {
		return nil, fmt.Errorf("look for the position table: %w", err)
	}
	if owns == nil {
		return nil, nil
	}
	removals, err := s.teardownLoads(ctx, conn)
	if err != nil {
		return nil, err
	}
	doubles, err := s.teardownDoubles(ctx, conn)
	if err != nil {
		return nil, err
	}
	removals = append(removals, doubles...)
	rows, err := dial.QueryRows(ctx, conn, ownRowsSQL, s.cfg.Pipeline, s.cfg.Source)
	if err != nil {
		return nil, fmt.Errorf("read the position rows: %w", err)
	}
	for _, row := range rows {
		removals = append(removals, s.removeRow(row[0]))
	}
	letters, err := s.teardownLetters(ctx, conn)
	if err != nil {
		return nil, err
	}
	removals = append(removals, letters...)
	gates, err := s.teardownGate(ctx, conn)
	if err != nil {
		return nil, err
	}
	removals = append(removals, gates...)
	others, err := dial.QueryRow(ctx, conn, otherRowsSQL, s.cfg.Pipeline, s.cfg.Source)
	if err != nil {
		return nil, fmt.Errorf("count the other position rows: %w", err)
	}
	if others[0] == "0" && owns[0] == "true" {
		schema, err := dial.QueryRow(ctx, conn, ownsSchemaSQL)
		if err != nil {
			return nil, fmt.Errorf("look at the schema entrain: %w", err)
		}
		removals = append(removals, s.removeTables(schema))
	}
	return removals, nil
}

func (s *Sink) removeRow(pipeline string) entrain.Removal {
	sql := fmt.Sprintf("DELETE FROM entrain.position WHERE pipeline = %s AND source = %s",
		sqltext.Literal(pipeline), sqltext.Literal(s.cfg.Source))
	return entrain.Removal{
		What: fmt.Sprintf("position of pipeline %q in %s", pipeline, dial.ServerName(s.conn)),
		SQL:  sql + ";",
		Do: func(ctx context.Context) error {
			return dial.InSession(ctx, s.conn, func(conn *pgconn.PgConn) error { return run(ctx, conn, sql) })
		},
	}
}

// removeTables drops what keeps positions, and the schema if it may be and
// nothing was added to it since.
// schema is nil if that stays.
func (s *Sink) removeTables(schema []string) entrain.Removal {
	what, sql := "table entrain.position", "DROP TABLE entrain.position;\nDROP TABLE IF EXISTS entrain.load, entrain.dead_letter, entrain.row_version, entrain.row_journal, entrain.gate, entrain.reconciliation;"
	if schema != nil {
		what, sql = "schema entrain", sql+"\nDROP SCHEMA entrain;"
	}
	return entrain.Removal{
		What: what + " in " + dial.ServerName(s.conn),
		SQL:  sql,
		Do: func(ctx context.Context) error {
			return dial.InSession(ctx, s.conn, func(conn *pgconn.PgConn) error { return s.dropTables(ctx, conn) })
		},
	}
}

func (s *Sink) dropTables(ctx context.Context, conn *pgconn.PgConn) error {
	if err := run(ctx, conn, "BEGIN"); err != nil {
		return err
	}
	err := run(ctx, conn, "LOCK TABLE entrain.position IN ACCESS EXCLUSIVE MODE")
	if dial.SQLState(err) == stateUndefinedTable || dial.SQLState(err) == stateUndefinedSchema {
		return nil
	}
	if err != nil {
		return err
	}
	left, err := dial.QueryRow(ctx, conn, `SELECT count(*)::text FROM entrain.position`)
	if err != nil {
		return err
	}
	if left[0] != "0" {
		return fmt.Errorf("drop schema entrain: %s position rows are still in it", left[0])
	}
	loads, err := dial.QueryRow(ctx, conn, hasLoadSQL)
	if err != nil {
		return err
	}
	if loads != nil {
		if err := dropLoadTable(ctx, conn); err != nil {
			return err
		}
	}
	if err := dropLetterTable(ctx, conn); err != nil {
		return err
	}
	if err := dropGateTables(ctx, conn); err != nil {
		return err
	}
	statements := []string{"DROP TABLE entrain.position"}
	schema, err := dial.QueryRow(ctx, conn, ownsSchemaSQL)
	if err != nil {
		return err
	}
	if schema != nil {
		statements = append(statements, "DROP SCHEMA entrain")
	}
	for _, sql := range append(statements, "COMMIT") {
		if err := run(ctx, conn, sql); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	if _, err := dial.QueryRows(ctx, conn, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}
