package main

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestCheckAroundACopy: what a copy would stop at is found before it, and not
// after it, when there is nothing to copy any more. A table that the rules give
// another shape is one that entrain does not make.
func TestCheckAroundACopy(t *testing.T) {
	srv := pgtest.Shared(t, pgtest.Majors(t)[0])
	env := map[string]string{"SOURCE_URL": pgtest.CreateDatabase(t, srv), "SINK_URL": pgtest.CreateDatabase(t, srv)}
	const keyless = "CREATE TABLE k (id int); ALTER TABLE k REPLICA IDENTITY FULL; INSERT INTO k VALUES (1)"
	pgtest.Exec(t, env["SOURCE_URL"], "CREATE TABLE a (id int PRIMARY KEY)", keyless)
	pgtest.Exec(t, env["SINK_URL"], keyless)
	text := strings.Replace(strings.Replace(betweenTwo, "never", "initial", 1), "{SINK_URL}\"", "{SINK_URL}\", create_tables: true", 1)
	path := writeFile(t, text)
	invoke(t, env, "check", path, "--only", "load_not_empty").want(t, exitDiffer)
	pgtest.Exec(t, env["SINK_URL"], "TRUNCATE k")
	renamed := writeFile(t, text+"transform:\n  - tables: [\"public.a\"]\n    rename: public.other\n")
	got := invoke(t, env, "check", renamed, "--only", "table_missing")
	if got.code != exitDiffer || !strings.Contains(got.stdout, `"other"`) || strings.Contains(got.stdout, "create_tables") {
		t.Errorf("a renamed table: %d %s%s", got.code, got.stdout, got.stderr)
	}
	invoke(t, env, "check", path).want(t, exitOK)
	invoke(t, env, "run", path, "--until", "now").want(t, exitOK)
	invoke(t, env, "check", path).want(t, exitOK)
	invoke(t, env, "teardown", path, "--yes").want(t, exitOK)
}

// TestCheckOfACopyAlone: a run that only copies makes no slot and no publication,
// so that none is missing.
func TestCheckOfACopyAlone(t *testing.T) {
	srv := pgtest.Shared(t, pgtest.Majors(t)[0])
	env := map[string]string{"SOURCE_URL": pgtest.CreateDatabase(t, srv), "SINK_URL": pgtest.CreateDatabase(t, srv)}
	for _, url := range env {
		pgtest.Exec(t, url, "CREATE TABLE a (id int PRIMARY KEY)")
	}
	initial := strings.Replace(strings.Replace(betweenTwo, "never", "initial", 1), "create: true", "create: false", 1)
	got := invoke(t, env, "check", writeFile(t, initial))
	if got.code != exitDiffer || !strings.Contains(got.stdout, "slot_missing") || !strings.Contains(got.stdout, "publication_missing") {
		t.Errorf("initial: %d\n%s", got.code, got.stdout)
	}
	only := writeFile(t, strings.Replace(initial, "initial", "only", 1))
	invoke(t, env, "check", only).want(t, exitOK)
	invoke(t, env, "run", only).want(t, exitOK)
}

// TestFixSQLKeepsTheKey: the key that is printed has the order of the source's
// index, under the names that the rules give.
func TestFixSQLKeepsTheKey(t *testing.T) {
	srv := pgtest.Shared(t, pgtest.Majors(t)[0])
	env := map[string]string{"SOURCE_URL": pgtest.CreateDatabase(t, srv), "SINK_URL": pgtest.CreateDatabase(t, srv)}
	pgtest.Exec(t, env["SOURCE_URL"], "CREATE TABLE a (v text, x int, y int, z int, PRIMARY KEY (z, x, y))")
	text := betweenTwo + "transform:\n  - tables: [\"public.a\"]\n    rename: public.other\n    columns: {exclude: [v], rename: {x: one, z: three}}\n"
	for file, want := range map[string]string{betweenTwo: `PRIMARY KEY ("z", "x", "y")`, text: `PRIMARY KEY ("three", "one", "y")`} {
		got := invoke(t, env, "check", writeFile(t, file), "--fix-sql", "--only", "table_missing")
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %s in\n%s%s", want, got.stdout, got.stderr)
		}
	}
}
