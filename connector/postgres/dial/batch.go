package dial

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// Question is one statement of a batch.
type Question struct {
	// SQL is the statement, or with Prepared the name of one that the session
	// has prepared.
	SQL      string
	Prepared bool
	Args     []string
	// Types: what is wanted are not the rows but one, of the oids of the result's
	// types.
	Types bool
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
		reader, asked := results.ResultReader(), questions[len(all)]
		rows, err := textRows(reader)
		if err != nil {
			_ = results.Close() // of what failed already
			return all, err
		}
		if asked.Types {
			rows = [][]string{typeRow(reader)}
		}
		all = append(all, rows)
	}
	return all, Classify(results.Close())
}

// typeRow is what [Question.Types] asks for.
func typeRow(reader *pgconn.ResultReader) []string {
	fields := reader.FieldDescriptions()
	oids := make([]string, len(fields))
	for i, f := range fields {
		oids[i] = strconv.FormatUint(uint64(f.DataTypeOID), 10)
	}
	return oids
}
