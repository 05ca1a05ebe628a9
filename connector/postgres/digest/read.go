package digest

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
)

// Reader reads digests over a connection, for one goroutine.
type Reader struct {
	Conn *pgconn.PgConn
	// TypeSQL writes a column's type.
	TypeSQL func(entrain.Column) string
	// Classify is applied to the errors of the server.
	Classify func(error) error

	plain map[[2]string]bool // tables that are not partitioned, by schema and name
}

// Size is what the catalog says about a table.
type Size struct {
	Rows     int64
	Encoding string // of the database
}

const sizesSQL = `SELECT x.i::text, (c.relkind = 'r')::text, pg_encoding_to_char(d.encoding),
  CASE c.relkind WHEN 'r' THEN greatest(c.reltuples, 0)::int8
    ELSE (SELECT coalesce(sum(greatest(l.reltuples, 0)), 0)::int8 FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf) END::text
FROM json_to_recordset($1::json) AS x(i int, s text, n text)
JOIN pg_namespace n ON n.nspname = x.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = x.n
JOIN pg_database d ON d.datname = current_database()
WHERE c.relkind IN ('r', 'p')`

// Sizes asks about tables, of which some may be nil or not exist: those have no
// size. It is called before they are read.
func (r *Reader) Sizes(ctx context.Context, tables []*entrain.Table) ([]Size, error) {
	type wanted struct {
		I int    `json:"i"`
		S string `json:"s"`
		N string `json:"n"`
	}
	list := []wanted{}
	for i, t := range tables {
		if t != nil {
			list = append(list, wanted{i, t.Schema, t.Name})
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	sizes := make([]Size, len(tables))
	r.plain = map[[2]string]bool{}
	res := r.Conn.ExecParams(ctx, sizesSQL, [][]byte{text}, nil, nil, nil).Read()
	if res.Err != nil {
		return nil, fmt.Errorf("look at the sizes of tables: %w", r.Classify(res.Err))
	}
	for _, row := range res.Rows {
		i, err := strconv.Atoi(string(row[0]))
		if err != nil {
			return nil, err
		}
		r.plain[[2]string{tables[i].Schema, tables[i].Name}] = string(row[1]) == "true"
		sizes[i] = Size{Rows: number(row[3]), Encoding: string(row[2])}
	}
	return sizes, nil
}

// Read implements the method of [entrain.DigestSession].
func (r *Reader) Read(ctx context.Context, q entrain.DigestQuery) iter.Seq2[entrain.Digest, error] {
	return func(yield func(entrain.Digest, error) bool) {
		p := plan{DigestQuery: q, typeSQL: r.TypeSQL}
		if r.plain[[2]string{q.Table.Schema, q.Table.Name}] {
			p.only = "ONLY "
		}
		s := p.statement()
		args := make([][]byte, len(s.args))
		for i, a := range s.args {
			args[i] = []byte(a)
		}
		result := r.Conn.ExecParams(ctx, s.sql, args, nil, nil, nil)
		for result.NextRow() {
			if !yield(digestOf(result.Values()), nil) {
				r.abandon(ctx, result)
				return
			}
		}
		if _, err := result.Close(); err != nil {
			yield(entrain.Digest{}, fmt.Errorf("sum up table %s: %w", q.Table, r.Classify(err)))
		}
	}
}

// abandon ends a query whose rest is not wanted.
func (r *Reader) abandon(ctx context.Context, result *pgconn.ResultReader) {
	_ = r.Conn.CancelRequest(ctx) // without it the rest is read
	_, _ = result.Close()
}

func digestOf(v [][]byte) entrain.Digest {
	return entrain.Digest{Bucket: int(number(v[0])), Hash: number(v[1]), Key: string(v[2]), Show: string(v[3]), Rows: number(v[4]),
		Sum: string(v[5]), Version: string(v[6])}
}

func number(text []byte) int64 {
	n, _ := strconv.ParseInt(string(text), 10, 64)
	return n
}
