package campaign

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// manyAtOnce is how many tables one transaction touches: it locks each.
const manyAtOnce = 500

// makeMany makes n plain tables, one of 1,000 columns, and one of 500
// partitions.
func makeMany(t *testing.T, url string, n int) {
	t.Helper()
	for from := 0; from < n; from += manyAtOnce {
		pgtest.Exec(t, url, fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP
			EXECUTE format('CREATE TABLE many_%%s (id int PRIMARY KEY, note text, at timestamptz DEFAULT now())', i); END LOOP; END $$`,
			from, from+manyAtOnce-1))
	}
	pgtest.Exec(t, url, `DO $$ BEGIN EXECUTE (SELECT 'CREATE TABLE wide (id int PRIMARY KEY, ' || string_agg('c' || i || ' int', ', ') || ')'
			FROM generate_series(1, 1000) i); END $$`,
		"CREATE TABLE parts (id int PRIMARY KEY, note text) PARTITION BY RANGE (id)",
		`DO $$ BEGIN FOR i IN 0..499 LOOP EXECUTE format('CREATE TABLE part_%s PARTITION OF parts FOR VALUES FROM (%s) TO (%s)',
			i, i * 10, i * 10 + 10); END LOOP; END $$`)
}

// touchMany writes a row into each table, in transactions of some tables.
func touchMany(t *testing.T, url string, n int) {
	t.Helper()
	for from := 0; from < n; from += manyAtOnce {
		pgtest.Exec(t, url, fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP
			EXECUTE format('INSERT INTO many_%%s VALUES (1, %%L)', i, i); END LOOP; END $$`, from, from+manyAtOnce-1))
	}
	pgtest.Exec(t, url, "INSERT INTO wide (id, c1, c1000) VALUES (1, 1, 1000)",
		"INSERT INTO parts SELECT i * 10, 'p' || i FROM generate_series(0, 499) i")
}

// TestPF06ManyTables: P6. Thousands of tables, a thousand columns and hundreds of
// partitions start and flow in bounded memory, into a file and into tables.
func TestPF06ManyTables(t *testing.T) {
	n := 1000
	if wide() {
		n = 5000
	}
	srv := pgtest.Start(t, someMajor(t), nil)
	s := site{source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv), name: "many"}
	makeMany(t, s.source, n)
	makeMany(t, s.target, n)
	pgtest.Exec(t, s.target, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_statement = %L', current_database(), 'all'); END $$")
	lines := filepath.Join(t.TempDir(), "out.jsonl")
	for name, sink := range map[string]string{"file": intoFile(lines), "tables": intoPostgres(s.target)} {
		t.Run(name, func(t *testing.T) {
			file := writePipeline(t, "many_"+name, fromPostgres(s.source), sink)
			launch(t, "run", "--until", "now", file.path).exit(t, exitOK) // makes publication and slot
			touchMany(t, s.source, n)
			p := launch(t, "run", file.path)
			began := time.Now()
			file.until(t, "the first change is delivered", delivered(1))
			first := time.Since(began)
			file.until(t, "all is delivered", delivered(int64(n)+501))
			peak := p.peak()
			t.Logf("%d tables: first change after %s, all after %s, at most %d MB",
				n, first.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), peak>>20)
			if peak > 200<<20 {
				t.Errorf("%d MB of memory; want at most 200", peak>>20)
			}
			p.kill()
			pgtest.Exec(t, s.source, fmt.Sprintf("DO $$ BEGIN FOR i IN 0..%d LOOP EXECUTE 'DELETE FROM many_' || i; END LOOP; END $$", manyAtOnce-1))
			launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
			pgtest.Exec(t, s.source, "DELETE FROM wide; DELETE FROM parts")
			for from := manyAtOnce; from < n; from += manyAtOnce {
				pgtest.Exec(t, s.source, fmt.Sprintf("DO $$ BEGIN FOR i IN %d..%d LOOP EXECUTE 'DELETE FROM many_' || i; END LOOP; END $$", from, from+manyAtOnce-1))
			}
			launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
		})
	}
	checkStatements(t, readText(t, filepath.Join(srv.Dir(), "log")), n)
	if text := readText(t, lines); strings.Count(text, `"op":"insert"`) != n+501 || strings.Count(text, `"op":"delete"`) != n+501 {
		t.Errorf("%d inserts and %d deletes in the file; want %d of each",
			strings.Count(text, `"op":"insert"`), strings.Count(text, `"op":"delete"`), n+501)
	}
	if left := pgtest.QueryOne(t, s.target, "SELECT (SELECT count(*) FROM many_0) + (SELECT count(*) FROM parts)"); left != "0" {
		t.Errorf("%s rows are left at the target", left)
	}
}

func delivered(n int64) func(admin.Report) bool {
	return func(r admin.Report) bool { return r.Status.Applied >= n }
}

// checkStatements looks at what the target was asked: each table was learnt
// about in two sessions, and took two small transactions.
func checkStatements(t *testing.T, log string, n int) {
	t.Helper()
	questions, all := strings.Count(log, "execute entrain_catalog_"), strings.Count(log, "LOG:  execute ")+strings.Count(log, "LOG:  statement: ")
	t.Logf("%d statements for %d tables, %d of them about the catalog", all, n, questions)
	tables := n + 2
	if questions < tables || questions > 2*3*tables {
		t.Errorf("%d questions about the shape of %d tables; want at most three for each and session", questions, tables)
	}
	if all > 2*(3+1)*tables+500 {
		t.Errorf("%d statements for two changes of each of %d tables", all, tables)
	}
}
