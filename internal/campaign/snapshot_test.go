package campaign

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestPG29SnapshotHandoff is copyCampaign, sampled: a kill after every twelve parts.
func TestPG29SnapshotHandoff(t *testing.T) {
	r := sampled(t, 1, 0)
	for _, major := range newestMajors(t) {
		t.Run(fmt.Sprint(major), func(t *testing.T) { copiedUnderKills(t, r.on(major), stepOfTests(), r.Seed) })
	}
}

// TestSnapshotOfTiedTables: a copy that was cut between a table and one that
// refers to it comes to its end all the same, with the reference (P1, P9).
func TestSnapshotOfTiedTables(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, "CREATE TABLE a_parent (id int PRIMARY KEY)", "CREATE TABLE z_child (id int PRIMARY KEY, parent int REFERENCES a_parent, body text)",
		"INSERT INTO a_parent SELECT generate_series(1, 10)", "INSERT INTO z_child SELECT i, 1 + i % 10, repeat('x', 500) FROM generate_series(1, 20000) i")
	file := writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(source), strings.Replace(intoPostgres(target), "}", ", create_tables: true}", 1))
	for range 2 {
		p := launch(t, "run", file.path)
		p.logs(t, "public.a_parent")
		p.kill()
		pgtest.Exec(t, source, "WITH p AS (INSERT INTO a_parent SELECT max(id) + 1 FROM a_parent RETURNING id) SELECT id FROM p",
			"INSERT INTO z_child SELECT (SELECT max(id) + 1 FROM z_child), max(id), 'of a new parent' FROM a_parent")
	}
	launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
	const sql = "SELECT count(*) || ' ' || max(parent) || ' ' || (SELECT count(*) FROM pg_constraint WHERE contype = 'f') FROM z_child"
	if want, got := pgtest.QueryOne(t, source, sql), pgtest.QueryOne(t, target, sql); got != want {
		t.Errorf("children, last parent and references: %s, want %s", got, want)
	}
}

// TestPG29IntoFile is the same into a file: every row and every change is a line
// of it exactly once, so that folding the lines gives the source's rows.
func TestPG29IntoFile(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	source := pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, fullSQL)
	out := filepath.Join(t.TempDir(), "out.jsonl")
	file := writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(source), intoFile(out))
	stop := hustle(t, source, 3*time.Millisecond, 29)
	killAfter(t, file, stepOfTests(), func(string) {})
	stop()
	launch(t, "run", "--until", "now", file.path).exitWithin(t, 2*patience, exitOK)
	wantFolded(t, source, readText(t, out))
}

// A signal ends a copy at once, and the next run goes on behind the tables that
// were finished.
func TestSnapshotIsInterrupted(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, fullSQL)
	file := writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(source), strings.Replace(intoPostgres(target), "}", ", create_tables: true}", 1))
	p := launch(t, "run", file.path)
	file.until(t, "parts are stored", func(r admin.Report) bool { return stored(r) > 1 || streaming(r) })
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	p = launch(t, "run", "--until", "now", file.path)
	p.exit(t, exitOK)
	if got := pgtest.QueryOne(t, target, "SELECT count(*) FROM people"); got != "6000" {
		t.Errorf("%s rows", got)
	}
	launch(t, "teardown", "--yes", file.path).exit(t, exitOK)
	if left := pgtest.QueryOne(t, source, "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()) + (SELECT count(*) FROM pg_publication)"); left != "0" {
		t.Errorf("%s slots and publications are left", left)
	}
}
