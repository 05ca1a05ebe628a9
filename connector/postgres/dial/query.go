package dial

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// QueryRow runs one statement and returns its first row as text, nil if it has
// no row. A NULL is an empty string.
func QueryRow(ctx context.Context, conn *pgconn.PgConn, sql string, args ...string) ([]string, error) {
	rows, err := QueryRows(ctx, conn, sql, args...)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// QueryRows runs one statement and returns all its rows as text.
func QueryRows(ctx context.Context, conn *pgconn.PgConn, sql string, args ...string) ([][]string, error) {
	return textRows(conn.ExecParams(ctx, sql, textParams(args), nil, nil, nil))
}

// QueryPrepared runs a prepared statement and returns all its rows as text.
func QueryPrepared(ctx context.Context, conn *pgconn.PgConn, name string, args ...string) ([][]string, error) {
	return textRows(conn.ExecPrepared(ctx, name, textParams(args), nil, nil))
}

func textParams(args []string) [][]byte {
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = []byte(a)
	}
	return params
}

func textRows(reader *pgconn.ResultReader) ([][]string, error) {
	res := reader.Read()
	if res.Err != nil {
		return nil, Classify(res.Err)
	}
	rows := make([][]string, len(res.Rows))
	for i, values := range res.Rows {
		rows[i] = make([]string, len(values))
		for j, v := range values {
			rows[i][j] = string(v)
		}
	}
	return rows, nil
}
