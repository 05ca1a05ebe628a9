package snapshot_test

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// textCopier is what the apply side asks a reader for.
type textCopier interface {
	CopyText(ctx context.Context, w io.Writer) (rows int64, err error)
}

// drain counts the rows that a reader has.
func drain(ctx context.Context, r entrain.RowReader) (n int64, err error) {
	for {
		batch, err := r.Read(ctx)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += int64(len(batch.Events))
		batch.Free()
	}
}

// eachPart reads the first table and returns how many rows it had.
func eachPart(ctx context.Context, s entrain.Snapshot, read func(r entrain.RowReader) (int64, error)) (n int64, err error) {
	for part := range s.Tables()[0].Parts {
		r, err := s.Read(ctx, entrain.SnapshotPart{Number: part})
		if err != nil {
			return n, err
		}
		got, err := read(r)
		if err != nil {
			return n, err
		}
		n += got
		if err := r.Close(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// BenchmarkRead reads a million rows of six columns, one part after the other,
// by each way and by psql.
func BenchmarkRead(b *testing.B) {
	url := pgtest.CreateDatabase(b, pgtest.Shared(b, 15))
	const rows = 1_000_000
	pgtest.Exec(b, url, "CREATE TABLE t (id bigint PRIMARY KEY, customer int, total numeric(10,2), status text, at timestamptz, note text)",
		"INSERT INTO t SELECT i, i % 1000, i / 7.0, 'shipped', now(), 'a note about order ' || i FROM generate_series(1, 1000000) i", "VACUUM ANALYZE t")
	s := take(b, newSource(b, url), entrain.SnapshotRequest{})
	ways := []struct {
		name string
		read func(r entrain.RowReader) (int64, error)
	}{{"Read", func(r entrain.RowReader) (int64, error) { return drain(b.Context(), r) }}, {"CopyText", func(r entrain.RowReader) (int64, error) { return r.(textCopier).CopyText(b.Context(), io.Discard) }}}
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n, err := eachPart(b.Context(), s, way.read); err != nil || n != rows {
					b.Fatalf("%d rows, %v", n, err)
				}
			}
			b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
	b.Run("psql", func(b *testing.B) {
		psql, err := exec.LookPath("psql")
		if err != nil {
			b.Skip("there is no psql")
		}
		for b.Loop() {
			if out, err := exec.CommandContext(b.Context(), psql, "-X", "-c", "COPY t TO STDOUT", "-o", "/dev/null", url).CombinedOutput(); err != nil {
				b.Fatalf("%v\n%.1000s", err, out)
			}
		}
		b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
}

// BenchmarkChunk reads 50,000 rows of six columns out of a million by key, and
// psql the same.
func BenchmarkChunk(b *testing.B) {
	url := pgtest.CreateDatabase(b, pgtest.Shared(b, 15))
	const rows = 50_000
	pgtest.Exec(b, url, "CREATE TABLE t (id bigint PRIMARY KEY, customer int, total numeric(10,2), status text, at timestamptz, note text)",
		"INSERT INTO t SELECT i, i % 1000, i / 7.0, 'shipped', now(), 'a note about order ' || i FROM generate_series(1, 1000000) i", "VACUUM ANALYZE t",
		"CREATE PUBLICATION pub FOR ALL TABLES")
	s := chunks(b, newSource(b, url))
	table := chunkTable(b, s, "public.t").Table
	b.Run("Read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c := readChunk(b, s, entrain.ChunkQuery{Table: table, After: []string{"500000"}, Rows: rows})
			if len(c.Rows) != rows || c.Last[0] != "550000" {
				b.Fatalf("%d rows, the last %q", len(c.Rows), c.Last)
			}
		}
		b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("One", func(b *testing.B) {
		for b.Loop() {
			if c := readChunk(b, s, entrain.ChunkQuery{Table: table, Of: []string{"500000"}}); len(c.Rows) != 1 {
				b.Fatalf("%d rows", len(c.Rows))
			}
		}
	})
	b.Run("psql", func(b *testing.B) {
		psql, err := exec.LookPath("psql")
		if err != nil {
			b.Skip("there is no psql")
		}
		for b.Loop() {
			out, err := exec.CommandContext(b.Context(), psql, "-X", "-c", "COPY (SELECT * FROM t WHERE id > 500000 ORDER BY id LIMIT 50000) TO STDOUT", "-o", "/dev/null", url).CombinedOutput()
			if err != nil {
				b.Fatalf("%v\n%.1000s", err, out)
			}
		}
		b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
}
