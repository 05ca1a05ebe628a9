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
