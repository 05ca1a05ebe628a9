package campaign

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// newTableSQL is a table that the source makes while a pipeline runs.
const newTableSQL = "CREATE TABLE fresh (id int PRIMARY KEY, v text); INSERT INTO fresh SELECT i, 'row ' || i FROM generate_series(1, 300) i"

// everything is a pipeline of a publication FOR ALL TABLES that has copied its rows.
func everything(t *testing.T, more ...string) (site, *pgserver.Server, pipelineFile) {
	t.Helper()
	s, srv := shop(t, someMajor(t))
	pgtest.Exec(t, s.source, "CREATE PUBLICATION everything FOR ALL TABLES", "INSERT INTO orders VALUES (1, 'x')")
	source := strings.Replace(fromPostgres(s.source), "}", ", publication: everything}", 1)
	file := writeSnapshotPipeline(t, s.name, source, intoPostgres(s.target))
	for _, line := range more {
		file.add(t, line)
	}
	return s, srv, file
}

// changeFile replaces a piece of the file.
func (f pipelineFile) changeFile(t *testing.T, old, now string) {
	t.Helper()
	text := readText(t, f.path)
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in the file:\n%s", old, text)
	}
	if err := os.WriteFile(f.path, []byte(strings.Replace(text, old, now, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestNewTableIsMissing: a table that comes to a publication FOR ALL TABLES while the
// pipeline runs, and is not at the target, is a stop which names it and its place in the
// log; the next run works after each of the ways that it names, and has all rows.
func TestNewTableIsMissing(t *testing.T) {
	ways := map[string]func(t *testing.T, srv *pgserver.Server, file pipelineFile, printed string){
		"made at the target": func(t *testing.T, srv *pgserver.Server, _ pipelineFile, printed string) {
			command := regexp.MustCompile(`entrain (check [^#\n]*)#`).FindStringSubmatch(printed)
			if command == nil {
				t.Fatalf("no command is printed: %s", printed)
			}
			p := launch(t, strings.Fields(command[1])...)
			<-p.ended
			pgtest.Script(t, srv, p.stdout.String())
		},
		"left out": func(t *testing.T, _ *pgserver.Server, file pipelineFile, printed string) {
			line := regexp.MustCompile(`source\.tables: (\{exclude: [^}]*\})`).FindStringSubmatch(printed)
			if line == nil {
				t.Fatalf("no way to leave the table out is printed: %s", printed)
			}
			file.changeFile(t, "publication: everything", "publication: everything, tables: "+line[1])
		},
		"made by entrain": func(t *testing.T, _ *pgserver.Server, file pipelineFile, printed string) {
			if !strings.Contains(printed, "sink.create_tables: true") {
				t.Fatalf("create_tables is not printed: %s", printed)
			}
			file.changeFile(t, "sink: {", "sink: {create_tables: true, ")
		},
	}
	for name, follow := range ways {
		t.Run(name, func(t *testing.T) {
			s, srv, file := everything(t)
			p := launch(t, "run", file.path)
			file.until(t, "streaming", streaming)
			pgtest.Exec(t, s.source, newTableSQL, "INSERT INTO orders VALUES (2, 'x')")
			p.exit(t, exitEnvironment)
			_, printed, _ := strings.Cut(p.stderr.String(), "entrain: stopped")
			for _, text := range []string{"table_missing", "public.fresh", "after position "} {
				if !strings.Contains(printed, text) {
					t.Errorf("%q is not said: %s", text, printed)
				}
			}
			follow(t, srv, file, printed)
			p = launch(t, "run", file.path)
			want := "300"
			pgtest.Exec(t, s.source, "INSERT INTO orders VALUES (3, 'x')")
			if name == "left out" {
				want = "<nil>"
			} else {
				pgtest.Exec(t, s.source, "INSERT INTO fresh VALUES (1000, 'later')", "DELETE FROM fresh WHERE id = 1")
			}
			wantFresh(t, s, want)
			if !p.running() {
				t.Errorf("ended: %s", p.stderr.String())
			}
		})
	}
}

// wantFresh waits until the target has all orders, and so many rows of the new table;
// <nil>: no table.
func wantFresh(t *testing.T, s site, rows string) {
	t.Helper()
	pgtest.Eventually(t, patience, "all orders are there, and "+rows+" rows of the new table", func() bool {
		if pgtest.QueryOne(t, s.target, "SELECT count(*) FROM orders") != "3" {
			return false
		}
		if pgtest.QueryOne(t, s.target, "SELECT to_regclass('fresh') IS NULL") == "t" {
			return rows == "<nil>"
		}
		return pgtest.QueryOne(t, s.target, "SELECT count(*) FROM fresh") == rows
	})
}

// TestNewTableIsMade: with create_tables the same table is made without a stop.
func TestNewTableIsMade(t *testing.T) {
	s, _, file := everything(t)
	file.changeFile(t, "sink: {", "sink: {create_tables: true, ")
	p := launch(t, "run", file.path)
	file.until(t, "streaming", streaming)
	pgtest.Exec(t, s.source, newTableSQL, "INSERT INTO orders VALUES (2, 'x')", "INSERT INTO orders VALUES (3, 'x')", "DELETE FROM fresh WHERE id = 7")
	wantFresh(t, s, "299")
	if !p.running() {
		t.Errorf("ended: %s", p.stderr.String())
	}
}

// TestNewTableFails: with on_table_error: resync only the new table stops, before and
// after a restart, and a resync brings it once it is made.
func TestNewTableFails(t *testing.T) {
	s, _, file := everything(t, "on_table_error: resync")
	p := launch(t, "run", file.path)
	file.until(t, "streaming", streaming)
	pgtest.Exec(t, s.source, newTableSQL, "INSERT INTO orders VALUES (2, 'x')")
	failed := func() {
		t.Helper()
		pgtest.Eventually(t, patience, "the new table has failed", func() bool {
			st := file.tables(t)["public.fresh"]
			return st.State == pipeline.TableFailed && strings.Contains(st.Reason, "public.fresh")
		})
	}
	failed()
	pgtest.Exec(t, s.source, "CREATE TABLE idle (id int PRIMARY KEY)")
	p.kill()
	p = launch(t, "run", file.path)
	failed()
	pgtest.Exec(t, s.source, "INSERT INTO orders VALUES (3, 'x')", "INSERT INTO fresh VALUES (1000, 'later')")
	wantFresh(t, s, "<nil>")
	pgtest.Exec(t, s.target, "CREATE TABLE fresh (id int PRIMARY KEY, v text)")
	file.order(t, "resync", "public.fresh")
	wantFresh(t, s, "301")
	if st := fmt.Sprint(file.tables(t)["public.idle"].State); st != "failed" {
		t.Errorf("a table without changes that is missing is %s", st)
	}
	if !p.running() {
		t.Errorf("ended: %s", p.stderr.String())
	}
}
