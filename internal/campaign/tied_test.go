package campaign

import (
	"regexp"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// TestTiedTablesResynced: two tables that a reference ties together, both damaged at the
// target, are resynced at once by a role without the right to leave references unchecked.
// What the stop prints leads to both being right, with the reference.
func TestTiedTablesResynced(t *testing.T) {
	t.Setenv("ENTRAIN_TEST_LEAST", "1")
	srv := pgtest.Start(t, someMajor(t), nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	const tables = "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p)"
	for _, url := range []string{source, target} {
		pgtest.Exec(t, url, tables)
	}
	pgtest.Exec(t, source, "INSERT INTO p SELECT generate_series(1, 50)", "INSERT INTO c SELECT i, 1 + i % 50 FROM generate_series(1, 500) i")
	file := writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(source), intoPostgres(target))
	p := launch(t, "run", file.path)
	file.until(t, "streaming", streaming)
	pgtest.Exec(t, target, "INSERT INTO p VALUES (900)", "UPDATE c SET p = 900 WHERE id < 100", "DELETE FROM c WHERE p = 7", "DELETE FROM p WHERE id = 7")
	launch(t, "table", "resync", file.path, "public.p", "public.c").exit(t, exitOK)
	p.exit(t, exitEnvironment)
	_, printed, found := strings.Cut(p.stderr.String(), "stopped (shadow_refused)")
	drop := regexp.MustCompile(`ALTER TABLE \S+ DROP CONSTRAINT \S+;`).FindString(printed)
	back := regexp.MustCompile(`once the rows are copied: (ALTER TABLE .*;)`).FindStringSubmatch(printed)
	if !found || drop == "" || back == nil {
		t.Fatalf("the way on is not said: %s", tail(p.stderr.String(), 2000))
	}
	pgtest.Exec(t, target, drop)
	p = launch(t, "run", file.path)
	pgtest.Eventually(t, patience, "both tables stream", func() bool {
		all := file.tables(t)
		return all["public.p"].State == pipeline.TableStreaming && all["public.c"].State == pipeline.TableStreaming
	})
	pgtest.Exec(t, target, back[1])
	const rows = "SELECT (SELECT sum(id) FROM p) || ' ' || (SELECT sum(id * 1000 + p) FROM c)"
	if got, want := pgtest.QueryOne(t, target, rows), pgtest.QueryOne(t, source, rows); got != want {
		t.Errorf("rows %s, want %s", got, want)
	}
	if !p.running() {
		t.Errorf("ended: %s", tail(p.stderr.String(), 2000))
	}
}
