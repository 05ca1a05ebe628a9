package campaign

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// nasty are names that break out wherever a name is pasted into a language.
var nasty = []string{
	`plain`, `Plain`, `PLAIN`, `select`, `user`, `table`, ` leading and trailing `, `dot.ted`, `a"b`, `a""b`, `"`, `'`, `''`,
	`'; DROP TABLE canary; --`, `"; DROP TABLE canary; --`, `$1`, `$$`, `$body$`, `%s`, `%`, `_`, `\`, `\\`, `\x41`, `E'\n'`,
	"new\nline", "carriage\rreturn", "tab\ttab", "bell\a", `🦀`, `ünïcödé`, "e\u0301 combining", `<script>alert(1)</script>`,
	`{"json": true}`, `a,b`, `(a)`, `a;b`, `--`, `/* */`, `:name`, `@x`, `#`, `*`, `?`, `[a-z]`, "\u202eright to left",
	strings.Repeat("x", 63), strings.Repeat("é", 31), strings.Repeat("🦀", 15), `NULL`, `\N`, `\.`, `ctid_`, `public.plain`, `entrain`,
}

func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// publicationName goes through the replication protocol's own quoting, too.
const publicationName = `pub'"; DROP TABLE canary; -- %s \ 🦀`

// zooTable is one table of the zoo, its names unquoted.
type zooTable struct{ schema, name, key, column, typ string }

func (z zooTable) sql() string { return ident(z.schema) + "." + ident(z.name) }

// zoo has a table for each name; every other one is in a schema of such a name.
func zoo() []zooTable {
	at := func(i int) string { return nasty[i%len(nasty)] }
	tables := make([]zooTable, len(nasty))
	for i, name := range nasty {
		schema := "public"
		if i%2 == 1 {
			schema = at(i - 1)
		}
		tables[i] = zooTable{schema: schema, name: name, key: at(i + 7), column: at(i + 13), typ: at(i + 5)}
	}
	return tables
}

func zooSchema(tables []zooTable) []string {
	sql := []string{"CREATE TABLE canary (id int PRIMARY KEY, v text);\nINSERT INTO canary VALUES (1, 'sings')", "CREATE SCHEMA kinds"}
	for _, z := range tables {
		if z.schema != "public" {
			sql = append(sql, "CREATE SCHEMA "+ident(z.schema))
		}
		kind := "kinds." + ident(z.typ)
		sql = append(sql, fmt.Sprintf("CREATE TYPE %s AS ENUM ('x', 'y')", kind),
			fmt.Sprintf("CREATE TABLE %s (%s int PRIMARY KEY, %s text, kind %s)", z.sql(), ident(z.key), ident(z.column), kind))
	}
	return sql
}

// zooChanges are five changes of each table.
func zooChanges(tables []zooTable) []string {
	var sql []string
	for _, z := range tables {
		key, column := ident(z.key), ident(z.column)
		sql = append(sql,
			"INSERT INTO "+z.sql()+" VALUES (1, 'one', 'x'), (2, '''; DROP TABLE canary; --', 'y')",
			fmt.Sprintf("UPDATE %s SET %s = %[2]s || ' more', kind = 'y' WHERE %s = 1", z.sql(), column, key),
			fmt.Sprintf("UPDATE %s SET %s = 3 WHERE %[2]s = 1", z.sql(), key),
			fmt.Sprintf("DELETE FROM %s WHERE %s = 2", z.sql(), key))
	}
	return sql
}

// catalogSQL is all of a database that somebody could have broken into, but
// for the position's schema.
const catalogSQL = `SELECT md5(string_agg(line, chr(10) ORDER BY line)) FROM (
SELECT format('%s|%s|%s|%s|%s', n.nspname, c.relname, c.relkind, a.attname, a.atttypid::regtype) AS line
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'entrain', 'pg_toast')
UNION ALL SELECT 'role ' || rolname || rolsuper FROM pg_roles
UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE oid >= 16384
UNION ALL SELECT 'canary ' || c::text FROM canary c) AS lines`

// SE-01 IdentifierInjection: schemas, tables, columns, types and the
// publication have such names; all changes arrive in both sinks under the very
// names (P1), and nothing else changes at the target.
func TestSE01IdentifierInjection(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) { injection(t, major) })
	}
}

func injection(t *testing.T, major int) {
	srv := pgtest.Start(t, major, nil)
	s := site{source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv)}
	tables := zoo()
	for _, url := range []string{s.source, s.target} {
		pgtest.Exec(t, url, zooSchema(tables)...)
	}
	before := pgtest.QueryOne(t, s.target, catalogSQL)
	quoted, err := json.Marshal(publicationName)
	if err != nil {
		t.Fatal(err)
	}
	source := fmt.Sprintf(`{type: postgres, url: %q, create: true, publication: %s, tables: {exclude: ["public.canary"]}}`, s.source, quoted)
	lines := filepath.Join(t.TempDir(), "lines.jsonl")
	files := []pipelineFile{
		writePipeline(t, "zoo_table", source, intoPostgres(s.target)),
		writePipeline(t, "zoo_file", source, intoFile(lines)),
	}
	run := func(args ...string) {
		for _, f := range files {
			launch(t, append(args, f.path)...).exit(t, exitOK)
		}
	}
	run("run", "--until", "now")
	pgtest.Exec(t, s.source, zooChanges(tables)...)
	run("run", "--until", "now")

	var names []string
	for _, z := range tables {
		names = append(names, z.sql())
	}
	found, err := differing(t.Context(), s, names)
	if err != nil || len(found) > 0 {
		t.Errorf("%q %v", found, err)
	}
	checkZooLines(t, readText(t, lines), tables)
	run("teardown", "--yes")
	if after := pgtest.QueryOne(t, s.target, catalogSQL); after != before {
		t.Error("something else has changed at the target")
	}
	for _, left := range []string{"SELECT count(*) FROM pg_publication", "SELECT count(*) - 1 FROM canary"} {
		if n := pgtest.QueryOne(t, s.source, left); n != "0" {
			t.Errorf("at the source %s = %s", left, n)
		}
	}
}

// checkZooLines checks that each table has its five changes under its own
// names.
func checkZooLines(t *testing.T, text string, tables []zooTable) {
	t.Helper()
	got := map[[2]string][]string{}
	for line := range strings.Lines(text) {
		var event struct {
			Op, Schema, Table string
			After             map[string]any
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		name := [2]string{event.Schema, event.Table}
		columns := slices.Sorted(maps.Keys(event.After))
		got[name] = append(got[name], event.Op+fmt.Sprintf("%q", columns))
	}
	for _, z := range tables {
		columns := []string{z.key, z.column, "kind"}
		slices.Sort(columns)
		row := fmt.Sprintf("%q", columns)
		want := []string{"insert" + row, "insert" + row, "update" + row, "update" + row, "delete[]"}
		if lines := got[[2]string{z.schema, z.name}]; !slices.Equal(lines, want) {
			t.Errorf("%q.%q: %q; want %q", z.schema, z.name, lines, want)
		}
	}
	if len(got) != len(tables) {
		t.Errorf("%d tables; want %d", len(got), len(tables))
	}
}
