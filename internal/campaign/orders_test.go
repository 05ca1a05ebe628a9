package campaign

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// ordered is a pipeline that streams a few tables between two databases.
type ordered struct {
	source, target string
	file           pipelineFile
	p              *process
}

func startOrdered(t *testing.T, sql string, lines ...string) ordered {
	t.Helper()
	srv := pgtest.Start(t, someMajor(t), nil)
	o := ordered{source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv)}
	pgtest.Exec(t, o.source, sql)
	o.file = writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(o.source), strings.Replace(intoPostgres(o.target), "}", ", create_tables: true}", 1))
	for _, line := range lines {
		o.file.add(t, line)
	}
	o.p = launch(t, "run", o.file.path)
	o.file.until(t, "it streams", streaming)
	return o
}

// reaches waits until a table is in a state.
func (o ordered) reaches(t *testing.T, table string, state pipeline.TableState) (st pipeline.TableStatus) {
	t.Helper()
	pgtest.Eventually(t, patience, table+" is "+string(state), func() bool {
		st = o.file.tables(t)[table]
		return st.State == state
	})
	return st
}

// agree compares what a query says at both ends, once it is delivered.
func (o ordered) agree(t *testing.T, sql string) {
	t.Helper()
	want := pgtest.QueryOne(t, o.source, sql)
	pgtest.Eventually(t, patience, "both sides agree", func() bool { return pgtest.QueryOne(t, o.target, sql) == want })
}

const itemsSQL = "CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL); INSERT INTO items SELECT i, i FROM generate_series(1, 5000) i"

// A double that somebody drops in mid-resync is made again: nothing is lost.
func TestDoubleIsDropped(t *testing.T) {
	o := startOrdered(t, itemsSQL)
	pgtest.Exec(t, o.target, "DELETE FROM items WHERE id > 100")
	o.file.order(t, "resync", "public.items")
	o.file.order(t, "pause", "public.items")
	const find = "SELECT coalesce(string_agg(format('entrain.%I', relname), ', '), '') FROM pg_class WHERE relnamespace = 'entrain'::regnamespace AND relkind = 'r' AND relname LIKE 'double%'"
	pgtest.Eventually(t, patience, "there is a double", func() bool { return pgtest.QueryOne(t, o.target, find) != "" })
	pgtest.Exec(t, o.target, "DROP TABLE "+pgtest.QueryOne(t, o.target, find))
	pgtest.Exec(t, o.source, "UPDATE items SET n = -n WHERE id % 9 = 0")
	o.file.order(t, "resume", "public.items")
	o.p.logs(t, "the sink has lost the double of a table")
	o.reaches(t, "public.items", pipeline.TableStreaming)
	o.agree(t, "SELECT count(*) || ' ' || sum(n) FROM items")
}

// A refresh brings the rows that its condition chooses, and no others; a wrong
// condition is refused and changes nothing.
func TestRefreshWhere(t *testing.T) {
	o := startOrdered(t, itemsSQL)
	pgtest.Exec(t, o.target, "UPDATE items SET n = -7")
	wrong := launch(t, "snapshot", "start", o.file.path, "--table", "public.items", "--where", "no_such_column > 1")
	wrong.exit(t, exitEnvironment)
	if text := wrong.stderr.String(); !strings.Contains(text, "where_refused") || !strings.Contains(text, "no_such_column > 1: ERROR: column \"no_such_column\" does not exist (SQLSTATE 42703)\n") {
		t.Errorf("a wrong condition: %s", text)
	}
	torn := launch(t, "snapshot", "start", o.file.path, "--table", "public.items", "--where", "n = 'torn")
	torn.exit(t, exitEnvironment)
	if text := torn.stderr.String(); !strings.Contains(text, "n = 'torn: ERROR: unterminated quoted string at or near \"'torn\" (SQLSTATE 42601)\n") {
		t.Errorf("a condition without an end: %s", text)
	}
	launch(t, "snapshot", "start", o.file.path, "--table", "public.items", "--where", "id > 4000").exit(t, exitOK)
	pgtest.Eventually(t, patience, "the rows are there", func() bool {
		return pgtest.QueryOne(t, o.target, "SELECT count(*) FROM items WHERE n <> -7") == "1000"
	})
	o.reaches(t, "public.items", pipeline.TableStreaming)
	if got := pgtest.QueryOne(t, o.target, "SELECT count(*) FROM items WHERE n = -7 AND id <= 4000"); got != "4000" {
		t.Errorf("%s of 4000 rows are as they were", got)
	}
}

// With on_table_error: resync a refused row stops its table only, and a resync
// mends it.
func TestOnTableError(t *testing.T) {
	o := startOrdered(t, itemsSQL+"; CREATE TABLE others (id int PRIMARY KEY)", "on_table_error: resync")
	pgtest.Exec(t, o.target, "ALTER TABLE items ADD CONSTRAINT small CHECK (n < 100000)")
	pgtest.Exec(t, o.source, "UPDATE items SET n = 200000 WHERE id = 7", "INSERT INTO others SELECT generate_series(1, 50)")
	st := o.reaches(t, "public.items", pipeline.TableFailed)
	if !strings.Contains(st.Reason, "small") {
		t.Errorf("the reason is %q", st.Reason)
	}
	o.agree(t, "SELECT count(*) FROM others")
	pgtest.Exec(t, o.target, "ALTER TABLE items DROP CONSTRAINT small")
	o.file.order(t, "resync", "public.items")
	o.reaches(t, "public.items", pipeline.TableStreaming)
	o.agree(t, "SELECT count(*) || ' ' || sum(n) FROM items")
}

// The first copy of all tables can be held and resumed, and cancelled.
func TestFirstCopyIsHeld(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	for i := range 30 {
		pgtest.Exec(t, source, fmt.Sprintf("CREATE TABLE t%d (id int PRIMARY KEY, body text); INSERT INTO t%d SELECT i, repeat('x', 300) FROM generate_series(1, 3000) i", i, i))
	}
	file := writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(source), strings.Replace(intoPostgres(target), "}", ", create_tables: true}", 1))
	p := launch(t, "run", file.path)
	pgtest.Eventually(t, patience, "the copy is held", func() bool {
		hold, err := start("snapshot", "pause", file.path)
		if err != nil {
			t.Fatal(err)
		}
		<-hold.ended
		return hold.code() == exitOK
	})
	file.until(t, "the status says so", func(r admin.Report) bool { return r.Status.Snapshot != nil && r.Status.Snapshot.Held })
	launch(t, "snapshot", "resume", file.path).exit(t, exitOK)
	file.until(t, "it streams", streaming)
	p.kill()
	if got := pgtest.QueryOne(t, target, "SELECT count(*) FROM t29"); got != "3000" {
		t.Errorf("%s rows", got)
	}
}

// TestTablesIntoFile adds, refreshes and resyncs tables into JSON lines, with
// kills: folding the lines gives the source's rows.
func TestTablesIntoFile(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	source := pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, itemsSQL)
	out := filepath.Join(t.TempDir(), "out.jsonl")
	file := writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(source), intoFile(out))
	p := launch(t, "run", file.path)
	file.until(t, "it streams", streaming)
	pgtest.Exec(t, source, lateSQL)
	stop := disturb(t.Context(), t, source)
	file.order(t, "add", "public.late")
	p.kill()
	killUntilStreaming(t, file, "public.late")
	p = launch(t, "run", file.path)
	file.until(t, "it streams", streaming)
	file.order(t, "resync", "public.late")
	p.kill()
	killUntilStreaming(t, file, "public.late")
	stop()
	launch(t, "run", "--until", "now", file.path).exitWithin(t, 2*patience, exitOK)
	want, err := query(t.Context(), source, "SELECT kind || '/' || no || '/' || n || '/' || length(body) FROM late ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	got := foldLate(t, readText(t, out))
	if len(got) != len(want) {
		t.Errorf("the lines make %d rows, the source has %d", len(got), len(want))
	}
	for _, row := range want {
		if !got[row[0]] {
			t.Errorf("row %s is not in the lines", row[0])
		}
	}
}

// lateRow is a row of the late table in a line.
type lateRow struct {
	Kind string
	No   int
	Body *string
	N    int
}

// foldLate makes the changes of the late table one after the other, as a reader
// with upserts would.
func foldLate(t *testing.T, text string) map[string]bool {
	t.Helper()
	type key struct {
		kind string
		no   int
	}
	rows := map[key]lateRow{}
	for line := range strings.Lines(text) {
		var e struct {
			Op, Table     string
			Tables        []struct{ Table string }
			Before, After *lateRow
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %.200s", err, line)
		}
		if e.Op == "truncate" {
			clear(rows) // the other table is never emptied
		}
		if e.Table != "late" || e.Op == "read_end" {
			continue
		}
		var old lateRow
		if e.After != nil {
			old = rows[key{e.After.Kind, e.After.No}]
		}
		if e.Before != nil {
			old = rows[key{e.Before.Kind, e.Before.No}]
			delete(rows, key{e.Before.Kind, e.Before.No})
		}
		if e.After == nil {
			continue
		}
		if e.After.Body == nil {
			e.After.Body = old.Body
		}
		if e.After.Body == nil { // a chunk of one row brings it
			continue
		}
		rows[key{e.After.Kind, e.After.No}] = *e.After
	}
	lines := map[string]bool{}
	for k, row := range rows {
		lines[fmt.Sprintf("%s/%d/%d/%d", k.kind, k.no, row.N, len(*row.Body))] = true
	}
	return lines
}

// Shapes that change while a table is resynced, and values that only the source's
// rows tell, arrive all the same.
func TestShapesBesideCopies(t *testing.T) {
	o := startOrdered(t, itemsSQL)
	o.file.order(t, "resync", "public.items")
	o.file.order(t, "pause", "public.items")
	pgtest.Exec(t, o.source, "ALTER TABLE items ADD COLUMN note text DEFAULT 'none'", "UPDATE items SET note = 'odd' WHERE id % 2 = 1")
	o.file.order(t, "resume", "public.items")
	o.reaches(t, "public.items", pipeline.TableStreaming)
	o.agree(t, "SELECT count(*) || ' ' || sum(n) || ' ' || sum(hashtext(note)) FROM items")
	pgtest.Exec(t, o.source, "ALTER TABLE items ADD COLUMN dice float8 DEFAULT random()", "UPDATE items SET n = 0 WHERE id = 1")
	o.p.logs(t, "the rows of a table are delivered once more")
	o.agree(t, "SELECT sum(hashtext(dice::text)) || ' ' || sum(n) FROM items")
	o.reaches(t, "public.items", pipeline.TableStreaming)
}

// With snapshot.mode: when_needed a slot that is gone is no stop: all tables are
// copied anew, rows that are gone at the source included.
func TestWhenNeeded(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	o := ordered{source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv)}
	pgtest.Exec(t, o.source, itemsSQL, "CREATE TABLE others (id int PRIMARY KEY); INSERT INTO others SELECT generate_series(1, 300)")
	o.file = writeSections(t, pgtest.Name(t), "source: "+fromPostgres(o.source), "snapshot: {mode: when_needed, chunk_rows: 700}",
		"sink: "+strings.Replace(intoPostgres(o.target), "}", ", create_tables: true}", 1))
	launch(t, "run", "--until", "now", o.file.path).exit(t, exitOK)
	pgtest.Exec(t, o.source, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()",
		"DELETE FROM items WHERE id % 3 = 0", "UPDATE items SET n = n + 1", "DELETE FROM others WHERE id > 200")
	o.p = launch(t, "run", o.file.path)
	o.p.logs(t, "the source has lost the position")
	o.reaches(t, "public.items", pipeline.TableStreaming)
	o.reaches(t, "public.others", pipeline.TableStreaming)
	pgtest.Exec(t, o.source, "INSERT INTO items VALUES (9999, 1)")
	o.agree(t, "SELECT count(*) || ' ' || sum(n) || ' ' || (SELECT count(*) FROM others) FROM items")
	o.p.kill()
	launch(t, "run", "--until", "now", o.file.path).exit(t, exitOK)
	o.agree(t, "SELECT count(*) || ' ' || sum(n) || ' ' || (SELECT count(*) FROM others) FROM items")
}

// A column that is dropped and comes back is another one: the rows that the target
// has get what the source's have, also where one statement does both and the table
// looks as it did, if the source tells of statements.
func TestColumnComesBack(t *testing.T) {
	o := startOrdered(t, itemsSQL)
	pgtest.Exec(t, o.source, "ALTER TABLE items DROP COLUMN n", "INSERT INTO items VALUES (6000)",
		"ALTER TABLE items ADD COLUMN n int NOT NULL DEFAULT 44", "INSERT INTO items VALUES (6001)")
	o.agree(t, "SELECT count(*) || ' ' || sum(n) FROM items")
	script := launch(t, "check", "--ddl", o.file.path)
	script.exit(t, exitOK)
	pgtest.Exec(t, o.source, script.stdout.String())
	pgtest.Exec(t, o.source, "INSERT INTO items VALUES (6002)")
	o.agree(t, "SELECT count(*) || ' ' || sum(n) FROM items")
	pgtest.Exec(t, o.source, "ALTER TABLE items DROP COLUMN n, ADD COLUMN n int NOT NULL DEFAULT 45", "INSERT INTO items VALUES (6003)")
	o.agree(t, "SELECT count(*) || ' ' || sum(n) FROM items")
	pgtest.Exec(t, o.source, "ALTER TABLE items DROP COLUMN n", "ALTER TABLE items ADD COLUMN n int NOT NULL DEFAULT 46", "INSERT INTO items VALUES (6004)")
	o.agree(t, "SELECT count(*) || ' ' || sum(n) FROM items")
}

// A table that is copied beside the stream of a pipeline without a first copy is no
// first copy: the next run goes on as before.
func TestRefreshWithoutFirstCopy(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	o := ordered{source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv)}
	pgtest.Exec(t, o.source, itemsSQL)
	pgtest.Exec(t, o.target, "CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL)")
	o.file = writePipeline(t, pgtest.Name(t), fromPostgres(o.source), intoPostgres(o.target))
	o.p = launch(t, "run", o.file.path)
	o.file.until(t, "it streams", streaming)
	launch(t, "snapshot", "start", o.file.path, "--table", "public.items").exit(t, exitOK)
	o.agree(t, "SELECT count(*) || ' ' || sum(n) FROM items")
	o.reaches(t, "public.items", pipeline.TableStreaming)
	o.p.kill()
	pgtest.Exec(t, o.source, "DELETE FROM items WHERE id < 10")
	launch(t, "run", "--until", "now", o.file.path).exit(t, exitOK)
	o.agree(t, "SELECT count(*) || ' ' || sum(n) FROM items")
}
