package campaign

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// renames has a rule for each table that gives it, its key and its column the
// names of others, and returns those. A rule cannot write a brace, so such a
// table keeps its name by a placeholder, nor a dot in a schema.
func renames(t *testing.T, tables []zooTable) (rules string, renamed []zooTable) {
	t.Helper()
	escape := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`)
	var all []map[string]any
	for i, z := range tables {
		at := func(n int) string { return nasty[(i+n)%len(nasty)] }
		to := zooTable{schema: at(3), name: at(11), key: at(17), column: at(23), typ: z.typ}
		schema, name := to.schema, to.name
		if strings.ContainsAny(schema, "{.") || schema == "entrain" { // the last one is the position's
			to.schema, schema = "to", "to"
		}
		if strings.Contains(name, "{") {
			to.name, name = z.name, "{table}"
		}
		renamed = append(renamed, to)
		all = append(all, map[string]any{
			"tables": []string{escape.Replace(z.schema + "." + z.name)}, "rename": schema + "." + name,
			"columns": map[string]any{"rename": map[string]string{z.key: to.key, z.column: to.column}},
		})
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return "transform: " + strings.ReplaceAll(string(text), "${", "$${"), renamed
}

// TestPG16IdentifierZoo: names of every kind go through capture, rules that give
// them other such names, the check and its SQL, both sinks, a stop, the status
// and the teardown (P1, P8).
func TestPG16IdentifierZoo(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	s := site{source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv)}
	tables := zoo()
	rules, renamed := renames(t, tables)
	pgtest.Exec(t, s.source, zooSchema(tables)...)
	for _, sql := range zooSchema(tables) {
		if !strings.HasPrefix(sql, `CREATE TABLE "`) && !strings.HasPrefix(sql, `CREATE SCHEMA "`) {
			pgtest.Exec(t, s.target, sql) // the types, and the canary
		}
	}
	quoted, err := json.Marshal(publicationName)
	if err != nil {
		t.Fatal(err)
	}
	source := fmt.Sprintf(`{type: postgres, url: %q, create: true, publication: %s, tables: {exclude: ["public.canary"]}}`, pgtest.SourceURL(s.source), quoted)
	lines := filepath.Join(t.TempDir(), "lines.jsonl")
	intoTable := writePipeline(t, "zoo_table", source, intoPostgres(s.target))
	intoLines := writePipeline(t, "zoo_file", source, intoFile(lines))
	run := func(args ...string) {
		t.Helper()
		for _, f := range []pipelineFile{intoTable, intoLines} {
			launch(t, append(args, f.path)...).exit(t, exitOK)
		}
	}
	for _, f := range []pipelineFile{intoTable, intoLines} {
		f.add(t, rules)
	}
	repair(t, srv, intoTable)
	run("check")
	before := pgtest.QueryOne(t, s.target, catalogSQL)
	run("run", "--until", "now")
	pgtest.Exec(t, s.source, zooChanges(tables)...)
	run("run", "--until", "now")
	for _, z := range renamed {
		sql := fmt.Sprintf("SELECT string_agg(concat_ws('|', %s, %s, kind), ',') FROM %s", ident(z.key), ident(z.column), z.sql())
		if got := pgtest.QueryOne(t, s.target, sql); got != "3|one more|y" {
			t.Errorf("%q: %s", z, got)
		}
	}
	checkZooLines(t, readText(t, lines), renamed)
	zooStops(t, s, intoTable, zooStop{srv, tables, renamed})
	run("teardown", "--yes")
	if after := pgtest.QueryOne(t, s.target, catalogSQL); after != before {
		t.Error("something else has changed at the target")
	}
	if n := pgtest.QueryOne(t, s.source, "SELECT count(*) FROM pg_publication"); n != "0" {
		t.Errorf("%s publications are left", n)
	}
}

// repair does what the check says about tables that are missing.
func repair(t *testing.T, srv *pgserver.Server, file pipelineFile) {
	t.Helper()
	p := launch(t, "check", "--fix-sql", "--only", "table_missing", file.path)
	p.exit(t, exitFindings)
	pgtest.Script(t, srv, p.stdout.String())
}

type zooStop struct {
	srv             *pgserver.Server
	tables, renamed []zooTable
}

// zooStops takes some tables away from under the pipeline: it stops by name, in
// as many lines whatever the name is, and goes on once the check's SQL was run.
func zooStops(t *testing.T, s site, file pipelineFile, zoo zooStop) {
	t.Helper()
	for i, z := range zoo.renamed {
		if !strings.ContainsAny(z.name, "\n\r\a%\\") {
			continue
		}
		p := launch(t, "run", file.path)
		file.until(t, "streaming", streaming)
		if status, err := file.status(); err != nil || status.Pipeline != file.name {
			t.Errorf("status %+v, %v", status, err)
		}
		pgtest.Exec(t, s.target, "DROP TABLE "+z.sql())
		pgtest.Exec(t, s.source, fmt.Sprintf("INSERT INTO %s VALUES (4, 'back', 'x')", zoo.tables[i].sql()))
		p.exit(t, exitEnvironment)
		_, stop, found := strings.Cut(p.stderr.String(), "stopped (table_missing)\n")
		if lines := strings.Split(strings.TrimSuffix(stop, "\n"), "\n"); !found || len(lines) != 5 || strings.Count(stop, "\n                 or ") != 2 {
			t.Errorf("want a stop of three lines and two other ways: %q", stop)
		}
		repair(t, zoo.srv, file)
		launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
		if got := pgtest.QueryOne(t, s.target, fmt.Sprintf("SELECT %s FROM %s", ident(z.column), z.sql())); got != "back" {
			t.Errorf("%q: %s", z, got)
		}
	}
}
