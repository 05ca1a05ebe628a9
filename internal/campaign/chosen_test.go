package campaign

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// TestOtherRowsAfterKill (P1): the publication's row filter changes while a process that
// resyncs a table is dead. The table is read anew: the target has the rows of the new
// filter, and no others.
func TestOtherRowsAfterKill(t *testing.T) {
	major := someMajor(t)
	if major < 15 {
		t.Skip("no row filters before version 15")
	}
	srv := pgtest.Start(t, major, nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, lateSQL, "CREATE PUBLICATION chosen FOR TABLE late WHERE (no > 4000)", "ALTER TABLE late REPLICA IDENTITY DEFAULT")
	file := writeSnapshotPipeline(t, pgtest.Name(t), strings.Replace(fromPostgres(source), "}", ", publication: chosen}", 1),
		strings.Replace(intoPostgres(target), "}", ", create_tables: true}", 1))
	p := launch(t, "run", file.path)
	file.until(t, "streaming", streaming)
	file.order(t, "resync", "public.late")
	pgtest.Eventually(t, patience, "some rows are read", func() bool { return file.tables(t)["public.late"].Rows > 700 })
	p.kill()
	pgtest.Exec(t, source, "ALTER PUBLICATION chosen SET TABLE late WHERE (no <= 5000)")
	p = launch(t, "run", file.path)
	p.logs(t, "other rows or columns of a table are chosen")
	pgtest.Eventually(t, patience, "the table streams", func() bool {
		return file.tables(t)["public.late"].State == pipeline.TableStreaming
	})
	pgtest.Exec(t, source, "DELETE FROM late WHERE no = 4999")
	pgtest.Eventually(t, patience, "the target has the rows of the new filter", func() bool {
		return pgtest.QueryOne(t, target, "SELECT count(*) || ' ' || max(no) FROM late") == "4999 5000"
	})
	if got, want := pgtest.QueryOne(t, target, sumSQL("late")), pgtest.QueryOne(t, source, sumSQL("(SELECT * FROM late WHERE no <= 5000)")); got != want {
		t.Errorf("rows %s, want %s", got, want)
	}
}

// sumSQL sums the rows up.
func sumSQL(from string) string {
	return fmt.Sprintf("SELECT coalesce(sum(hashtextextended(x::text, 0)::numeric), 0)::text FROM %s x", from)
}

// TestOtherRulesInFirstCopy (P5): a rule changes while the first copy is not complete:
// a stop that names the table, after whose advice, to undo that, the copy goes on.
func TestOtherRulesInFirstCopy(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	const tables = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE z (id int PRIMARY KEY, body text)"
	pgtest.Exec(t, source, tables, "INSERT INTO a SELECT generate_series(1, 10)", "INSERT INTO z SELECT i, repeat('x', 500) FROM generate_series(1, 60000) i")
	pgtest.Exec(t, target, tables)
	file := writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(source), intoPostgres(target))
	file.add(t, `transform: [{tables: ["public.a"], where: "new.id > 5"}]`)
	p := launch(t, "run", file.path)
	p.logs(t, `"table copied","table":"public.a"`)
	p.kill()
	file.changeFile(t, "new.id > 5", "new.id > 7")
	p = launch(t, "run", file.path)
	p.exit(t, exitEnvironment)
	for _, text := range []string{"snapshot_rows", "public.a"} {
		if !p.stderr.has(text) {
			t.Errorf("%q is not said: %s", text, tail(p.stderr.String(), 800))
		}
	}
	file.changeFile(t, "new.id > 7", "new.id > 5")
	launch(t, "run", "--until", "now", file.path).exitWithin(t, 2*patience, exitOK)
	if got := pgtest.QueryOne(t, target, "SELECT (SELECT count(*) FROM a) || ' ' || (SELECT count(*) FROM z)"); got != "5 60000" {
		t.Errorf("%s rows", got)
	}
}
