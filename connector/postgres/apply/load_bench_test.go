package apply

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// fileText is a file of COPY text.
type fileText struct {
	path string
	rows int64
}

func (r *fileText) Read(context.Context) (*entrain.Batch, error) { return nil, io.EOF }
func (r *fileText) Close() error                                 { return nil }
func (r *fileText) CopyText(_ context.Context, w io.Writer) (int64, error) {
	f, err := os.Open(r.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return r.rows, err
}

const benchLoadRows = 1_000_000

func benchFile(b *testing.B) *fileText {
	b.Helper()
	path := filepath.Join(b.TempDir(), "rows")
	var text strings.Builder
	for i := range benchLoadRows {
		fmt.Fprintf(&text, "%d\t%d\tstatus\tnote %d of a row that is about as long as such rows are\t2026-11-22 20:20:20.%06d+00\t%d.50\n", i, i%1000, i, i, i%977)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	return &fileText{path: path, rows: benchLoadRows}
}

// BenchmarkLoadText stores a million rows of COPY text as a part, and by psql's
// \copy, by turns, each into an empty table.
func BenchmarkLoadText(b *testing.B) {
	psql, err := exec.LookPath("psql")
	if err != nil {
		b.Skip("needs psql")
	}
	url := pgtest.CreateDatabase(b, pgtest.Shared(b, 15))
	pgtest.Exec(b, url, `CREATE TABLE bench (id int8 PRIMARY KEY, customer int4 NOT NULL, status text, note text, at timestamptz, amount numeric(10,2))`)
	table, file := describe(b, url, "public", "bench"), benchFile(b)
	lt := newLoadTest(b, url)
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		l := lt.load(table)
		if _, err := l.Part(b.Context(), file); err != nil {
			b.Fatal(err)
		}
		lt.finish(l)
		ours += time.Since(start)
		pgtest.Exec(b, url, `TRUNCATE bench`, `CHECKPOINT`)
		start = time.Now()
		out, err := exec.CommandContext(b.Context(), psql, "-d", url, "-qc", `\copy bench from '`+file.path+`'`).CombinedOutput()
		if err != nil {
			b.Fatalf("psql: %v: %s", err, out)
		}
		theirs += time.Since(start)
		pgtest.Exec(b, url, `TRUNCATE bench`, `CHECKPOINT`)
	}
	rows := float64(b.N) * benchLoadRows
	b.ReportMetric(rows/ours.Seconds(), "rows/s")
	b.ReportMetric(rows/theirs.Seconds(), "psql-rows/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-psql")
}
