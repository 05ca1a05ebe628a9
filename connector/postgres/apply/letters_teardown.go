package apply

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// ownLettersSQL counts our letters, by pipeline: see ownRowsSQL.
const ownLettersSQL = `SELECT pipeline, count(*)::text FROM entrain.dead_letter
WHERE pipeline = $1 OR starts_with(pipeline, $1 || ':') GROUP BY 1 ORDER BY 1`

// teardownLetters lists the dead letters of the pipeline, which are changes that are
// nowhere else.
func (s *Sink) teardownLetters(ctx context.Context, conn *pgconn.PgConn) ([]entrain.Removal, error) {
	there, err := dial.QueryRow(ctx, conn, hasLettersSQL)
	if err != nil || there == nil {
		return nil, err
	}
	rows, err := dial.QueryRows(ctx, conn, ownLettersSQL, s.cfg.Pipeline)
	if err != nil {
		return nil, fmt.Errorf("count the dead letters: %w", err)
	}
	var all []entrain.Removal
	for _, row := range rows {
		sql := "DELETE FROM entrain.dead_letter WHERE pipeline = " + sqltext.Literal(row[0])
		all = append(all, entrain.Removal{
			What: fmt.Sprintf("%s dead letters of pipeline %q in %s: their changes are nowhere else", row[1], row[0], dial.ServerName(s.conn)),
			SQL:  sql + ";",
			Do: func(ctx context.Context) error {
				return dial.InSession(ctx, s.conn, func(conn *pgconn.PgConn) error { return run(ctx, conn, sql) })
			},
		})
	}
	return all, nil
}

// dropLetterTable drops the table of letters in the open transaction, if it is there
// and empty.
func dropLetterTable(ctx context.Context, conn *pgconn.PgConn) error {
	there, err := dial.QueryRow(ctx, conn, hasLettersSQL)
	if err != nil || there == nil {
		return err
	}
	left, err := dial.QueryRow(ctx, conn, "SELECT count(*)::text FROM entrain.dead_letter")
	if err != nil {
		return err
	}
	if left[0] != "0" {
		return fmt.Errorf("drop schema entrain: %s dead letters are still in it", left[0])
	}
	return run(ctx, conn, "DROP TABLE entrain.dead_letter")
}
