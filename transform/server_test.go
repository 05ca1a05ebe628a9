package transform_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/file"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/transform"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const ordersSQL = `CREATE TABLE orders (id bigint PRIMARY KEY, cust text, total numeric, card text)`

// flow is a pipeline between two databases, or into a file.
type flow struct {
	name, source, target string
	state                string
	rules                []transform.Rule
}

func newFlow(t *testing.T, rules ...transform.Rule) *flow {
	srv := pgtest.Shared(t, 15)
	return &flow{
		name: pgtest.Name(t), source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv),
		state: t.TempDir(), rules: rules,
	}
}

// run delivers everything up to now into the sink; nil is the target database.
func (f *flow) run(t *testing.T, sink entrain.Sink) (pipeline.Status, error) {
	t.Helper()
	rules, err := transform.New(f.rules)
	if err != nil {
		t.Fatal(err)
	}
	all, err := postgres.NewSource(postgres.SourceConfig{URL: connector.Secret(pgtest.SourceURL(f.source)), Pipeline: f.name, Slot: f.name, Publication: f.name, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	source, err := all.Until("now")
	if err != nil {
		t.Fatal(err)
	}
	if sink == nil {
		if sink, err = postgres.NewSink(postgres.SinkConfig{URL: connector.Secret(pgtest.TargetURL(f.target)), Pipeline: f.name}); err != nil {
			t.Fatal(err)
		}
	}
	state, err := store.Open(f.state, f.name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	}()
	p, err := pipeline.New(pipeline.Options{Source: source, Sink: sink, Store: state, Transform: rules.Apply})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Run(t.Context())
	return p.Status(), err
}

func (f *flow) mustRun(t *testing.T, sink entrain.Sink) pipeline.Status {
	t.Helper()
	st, err := f.run(t, sink)
	if err != nil {
		t.Fatal(err)
	}
	if st.Captured != st.Applied+st.Filtered+st.Reread {
		t.Errorf("captured %d ≠ applied %d + filtered %d + reread %d (P1)", st.Captured, st.Applied, st.Filtered, st.Reread)
	}
	return st
}

// TestIntoAnotherTable: a filtered part of a table under another schema, name
// and columns is at every moment what a query over the source would give (P1,
// P2); what is left out is not at the target (P8).
func TestIntoAnotherTable(t *testing.T) {
	f := newFlow(t, transform.Rule{
		Tables: []string{"public.orders"}, Rename: "sales.large_orders", Where: "new.total > 100",
		Columns: transform.Columns{Exclude: []string{"card"}, Rename: map[string]string{"cust": "customer_id"}},
	})
	pgtest.Exec(t, f.source, ordersSQL, "ALTER TABLE orders REPLICA IDENTITY FULL")
	pgtest.Exec(t, f.target, "CREATE SCHEMA sales", "CREATE TABLE sales.large_orders (id bigint PRIMARY KEY, customer_id text, total numeric)")
	f.mustRun(t, nil)
	var captured, filtered int64
	for _, step := range []string{
		"INSERT INTO orders SELECT i, 'c' || i, i * 10, 'secret' FROM generate_series(1, 20) i",
		"UPDATE orders SET total = total + 60",                      // 5 to 10 enter
		"UPDATE orders SET total = 1 WHERE id > 15",                 // leave
		"UPDATE orders SET total = NULL WHERE id = 15",              // leaves
		"UPDATE orders SET id = id + 100 WHERE id BETWEEN 8 AND 17", // move inside and outside
		"DELETE FROM orders WHERE id IN (1, 2, 10, 20)",             // inside and outside
		"BEGIN; UPDATE orders SET total = 500; UPDATE orders SET total = 5 WHERE id % 2 = 0; COMMIT",
	} {
		pgtest.Exec(t, f.source, step)
		st := f.mustRun(t, nil)
		captured, filtered = captured+st.Captured, filtered+st.Filtered
		want := pgtest.Query(t, f.source, "SELECT id, cust, total FROM orders WHERE total > 100 ORDER BY id")
		got := pgtest.Query(t, f.target, "SELECT id, customer_id, total FROM sales.large_orders ORDER BY id")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after %s (-source +target):\n%s", step, diff)
		}
	}
	if filtered == 0 || filtered >= captured {
		t.Errorf("%d of %d were filtered", filtered, captured)
	}
	pgtest.Exec(t, f.source, "TRUNCATE orders")
	f.mustRun(t, nil)
	if n := pgtest.QueryOne(t, f.target, "SELECT count(*) FROM sales.large_orders"); n != "0" {
		t.Errorf("%s rows after TRUNCATE", n)
	}
}

// TestSchemaChanges: the projection follows the table's shape in the middle of
// a transaction; a column that a rule names and that is gone stops by name
// (P5).
func TestSchemaChanges(t *testing.T) {
	f := newFlow(t, transform.Rule{Tables: []string{"public.orders"}, Where: "new.id > 0", Columns: transform.Columns{Exclude: []string{"card"}}})
	pgtest.Exec(t, f.source, ordersSQL)
	sink, lines := fileSink(t)
	f.mustRun(t, sink)
	pgtest.Exec(t, f.source, `BEGIN; INSERT INTO orders VALUES (1, 'a', 1, 'secret'); ALTER TABLE orders ADD COLUMN note text;
		INSERT INTO orders VALUES (2, 'b', 2, 'secret', 'hi'); ALTER TABLE orders DROP COLUMN cust; INSERT INTO orders VALUES (3, 3, 'secret', 'ho'); COMMIT`)
	f.mustRun(t, sink)
	want := []string{`insert {"cust":"a","id":1,"total":"1"}`, "schema id,cust,total,note", `insert {"cust":"b","id":2,"note":"hi","total":"2"}`,
		"schema id,total,note", `insert {"id":3,"note":"ho","total":"3"}`}
	if diff := cmp.Diff(want, lines()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	pgtest.Exec(t, f.source, "ALTER TABLE orders DROP COLUMN card", "INSERT INTO orders VALUES (4, 4)")
	_, err := f.run(t, sink)
	wantStop(t, err, "transform_unfit", `columns.exclude names column "card"`)
	f.rules[0].Columns = transform.Columns{}
	f.mustRun(t, sink)
	if got := lines(); len(got) != 7 || got[6] != `insert {"id":4,"note":null,"total":"4"}` {
		t.Errorf("lines %q", got)
	}
}

// TestWithoutOldRows: what PostgreSQL does not log is not guessed: a named stop
// prints the SQL, and with it and old_unknown: replace the pipeline goes on
// with nothing lost (P1, P5).
func TestWithoutOldRows(t *testing.T) {
	f := newFlow(t, transform.Rule{Tables: []string{"public.*"}, Where: "new.total > 100"})
	table := `CREATE TABLE "Or""ders" (id bigint PRIMARY KEY, cust text, total numeric, card text)`
	pgtest.Exec(t, f.source, table)
	pgtest.Exec(t, f.target, table)
	f.mustRun(t, nil)
	pgtest.Exec(t, f.source, `INSERT INTO "Or""ders" SELECT i, 'c', i * 50, 'x' FROM generate_series(1, 6) i`)
	f.mustRun(t, nil)
	pgtest.Exec(t, f.source, `UPDATE "Or""ders" SET total = 250 - total WHERE id < 6`, `DELETE FROM "Or""ders" WHERE id IN (1, 6)`)
	_, err := f.run(t, nil)
	stop := wantStop(t, err, "transform_unlogged", `no value of column "total"`)
	sql, _, _ := strings.Cut(stop.Next, ";")
	pgtest.Exec(t, f.source, sql)
	_, err = f.run(t, nil)
	wantStop(t, err, "transform_unlogged", "") // what is logged stays as it is
	f.rules[0].OldUnknown = transform.OldReplace
	f.mustRun(t, nil)
	f.equal(t)
	f.rules[0].OldUnknown = ""
	pgtest.Exec(t, f.source, `UPDATE "Or""ders" SET total = 250 - total`, `DELETE FROM "Or""ders" WHERE id = 2`)
	f.mustRun(t, nil)
	f.equal(t)
}

func (f *flow) equal(t *testing.T) {
	t.Helper()
	want := pgtest.Query(t, f.source, `SELECT * FROM "Or""ders" WHERE total > 100 ORDER BY id`)
	if diff := cmp.Diff(want, pgtest.Query(t, f.target, `SELECT * FROM "Or""ders" ORDER BY id`)); diff != "" || len(want) == 0 {
		t.Errorf("(-source +target), %d rows:\n%s", len(want), diff)
	}
}

// TestLargeValues: a large value that an update did not touch is judged where
// the old row is logged whole, and refused by name where it is not.
func TestLargeValues(t *testing.T) {
	f := newFlow(t, transform.Rule{Tables: []string{"public.orders"}, Where: `!new.card.startsWith("void")`})
	pgtest.Exec(t, f.source, ordersSQL, "ALTER TABLE orders ALTER COLUMN card SET STORAGE EXTERNAL", "ALTER TABLE orders REPLICA IDENTITY FULL",
		"INSERT INTO orders VALUES (1, 'a', 1, repeat('x', 5000)), (2, 'b', 1, repeat('void', 5000))")
	sink, lines := fileSink(t)
	f.mustRun(t, sink)
	pgtest.Exec(t, f.source, "UPDATE orders SET total = 2")
	if st := f.mustRun(t, sink); st.Filtered != 1 || len(lines()) != 1 {
		t.Errorf("status %+v, lines %.100q", st, lines())
	}
	pgtest.Exec(t, f.source, "ALTER TABLE orders REPLICA IDENTITY DEFAULT", "UPDATE orders SET total = 3 WHERE id = 1")
	_, err := f.run(t, sink)
	stop := wantStop(t, err, "transform_unlogged", `no value of column "card"`)
	if !strings.HasPrefix(stop.Next, `ALTER TABLE "public"."orders" REPLICA IDENTITY FULL;`) {
		t.Errorf("next: %s", stop.Next)
	}
}

func wantStop(t *testing.T, err error, code, what string) *entrain.Stop {
	t.Helper()
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != code || !strings.Contains(stop.What, what) {
		t.Fatalf("error %v; want %s with %s", err, code, what)
	}
	return stop
}

// fileSink returns a sink into a file, and what is in it: the operation and the
// new row, a line an event.
func fileSink(t *testing.T) (entrain.Sink, func() []string) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	sink, err := file.NewSink(file.SinkConfig{Path: path, Format: "native"})
	if err != nil {
		t.Fatal(err)
	}
	return sink, func() []string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "secret") {
			t.Error("a column that is left out is in the file (P8)")
		}
		var lines []string
		for line := range strings.Lines(string(text)) {
			var e struct {
				Op    string
				After map[string]any
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if shape, _ := e.After["columns"].([]any); e.Op == "schema" {
				var names []string
				for _, c := range shape {
					names = append(names, c.(map[string]any)["name"].(string))
				}
				lines = append(lines, "schema "+strings.Join(names, ","))
				continue
			}
			after, _ := json.Marshal(e.After)
			lines = append(lines, fmt.Sprintf("%s %s", e.Op, after))
		}
		return lines
	}
}
