package dial

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// Question is one statement of a batch.
type Question struct {
	// SQL is the statement, or with Prepared the name of one that the session
	// has prepared.
	SQL      string
	Prepared bool
	Args     []string
}

// QueryBatch runs statements in one round trip and returns the rows of each as
// text. None behind one that fails is executed; the error is the first one's,
// and the rows are those of the statements before it.
func QueryBatch(ctx context.Context, conn *pgconn.PgConn, questions ...Question) ([][][]string, error) {
	batch := &pgconn.Batch{}
	for _, q := range questions {
		if q.Prepared {
			batch.ExecPrepared(q.SQL, textParams(q.Args), nil, nil)
		} else {
			batch.ExecParams(q.SQL, textParams(q.Args), nil, nil, nil)
		}
	}
	results := conn.ExecBatch(ctx, batch)
	all := make([][][]string, 0, len(questions))
	for results.NextResult() {
		rows, err := textRows(results.ResultReader())
		if err != nil {
			_ = results.Close() // of what failed already
			return all, err
		}
		all = append(all, rows)
	}
	return all, Classify(results.Close())
}
