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
	// hasGateSQL has a row if the gate's tables are there: all, or the first of them.
	hasGateSQL = `SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'entrain' AND c.relname IN ('gate', 'row_version', 'row_journal', 'reconciliation') HAVING count(*) = 4`

	// ownGateSQL lists what the gates of our pipelines know: see ownRowsSQL. The versions of
	// rows have no pipeline, but a table that one gate knows no other one does.
	ownGateSQL = `SELECT pipeline, count(*) FILTER (WHERE kind = 'floor')::text,
  (SELECT count(*)::text FROM entrain.reconciliation r WHERE r.pipeline = g.pipeline)
FROM entrain.gate g WHERE pipeline = $1 OR starts_with(pipeline, $1 || ':') GROUP BY pipeline ORDER BY pipeline`
)

// teardownGate lists the versions and the queues of the pipeline's gates. Changes that are
// in a queue may be nowhere else.
func (s *Sink) teardownGate(ctx context.Context, conn *pgconn.PgConn) ([]entrain.Removal, error) {
	there, err := dial.QueryRow(ctx, conn, hasGateSQL)
	if err != nil || there == nil {
		return nil, err
	}
	rows, err := dial.QueryRows(ctx, conn, ownGateSQL, s.cfg.Pipeline)
	if err != nil {
		return nil, fmt.Errorf("look at the version gate's tables: %w", err)
	}
	var all []entrain.Removal
	for _, row := range rows {
		of := "pipeline = " + sqltext.Literal(row[0])
		sql := "WITH gone AS (DELETE FROM entrain.gate WHERE " + of + " RETURNING kind, relation), late AS (DELETE FROM entrain.reconciliation WHERE " + of +
			"), noted AS (DELETE FROM entrain.row_journal WHERE relation IN (SELECT relation FROM gone WHERE kind = 'floor')) DELETE FROM entrain.row_version WHERE relation IN (SELECT relation FROM gone WHERE kind = 'floor')"
		what := fmt.Sprintf("versions of the rows of %s tables, kept by the version gate of pipeline %q in %s", row[1], row[0], dial.ServerName(s.conn))
		if row[2] != "0" {
			what += fmt.Sprintf(", and %s changes in entrain.reconciliation, which came late and may be nowhere else", row[2])
		}
		all = append(all, entrain.Removal{
			What: what,
			SQL:  sql + ";",
			Do: func(ctx context.Context) error {
				return dial.InSession(ctx, s.conn, func(conn *pgconn.PgConn) error { return run(ctx, conn, sql) })
			},
		})
	}
	return all, nil
}

// dropGateTables drops the gate's tables in the open transaction, if they are there and
// no pipeline uses them.
func dropGateTables(ctx context.Context, conn *pgconn.PgConn) error {
	there, err := dial.QueryRow(ctx, conn, hasGateSQL)
	if err != nil || there == nil {
		return err
	}
	left, err := dial.QueryRow(ctx, conn, `SELECT ((SELECT count(*) FROM entrain.gate) + (SELECT count(*) FROM entrain.reconciliation))::text`)
	if err != nil {
		return err
	}
	if left[0] != "0" {
		return fmt.Errorf("drop schema entrain: the version gate of another pipeline has %s rows in it", left[0])
	}
	return run(ctx, conn, "DROP TABLE entrain.row_version, entrain.row_journal, entrain.gate, entrain.reconciliation")
}
