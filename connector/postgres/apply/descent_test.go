package apply

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// many makes n transactions of one insert each, with ids from first on.
func many(t *entrain.Table, first, n int) [][]entrain.Event {
	var out [][]entrain.Event
	for i := range n {
		out = append(out, tx(ins(t, fmt.Sprint(first+i), "note", "1")))
	}
	return out
}

// wantRefused checks that err names one event, and returns its stop.
func wantRefused(t *testing.T, err error, id string) *entrain.Stop {
	t.Helper()
	stop := wantStop(t, err, "row_refused")
	var bad *entrain.BatchError
	if !errors.As(err, &bad) || len(bad.Failed) != 1 || bad.Failed[0].ID != id {
		t.Fatalf("got %v, want event %s named", err, id)
	}
	if !stop.Data {
		t.Error("the stop does not say that it is about data")
	}
	return stop
}

const badSchema = `CREATE TABLE orders (id int8 PRIMARY KEY, note varchar(5), n int4 NOT NULL CHECK (n > 0));
		CREATE TABLE parent (id int4 PRIMARY KEY); INSERT INTO parent VALUES (1);
		INSERT INTO orders VALUES (1, 'one', 1)`

// badCases are one bad row each, and what mends the target.
var badCases = []struct {
	name, state, mend string
	bad               func(o *entrain.Table) entrain.Event
}{
	{"check", "23514", `ALTER TABLE orders DROP CONSTRAINT orders_n_check`,
		func(o *entrain.Table) entrain.Event { return ins(o, "500", "bad", "-1") }},
	{"not null", "23502", `ALTER TABLE orders ALTER n DROP NOT NULL`,
		func(o *entrain.Table) entrain.Event { return upd(o, "1", "bad", "∅") }},
	{"too long", "22001", `ALTER TABLE orders ALTER note TYPE text`,
		func(o *entrain.Table) entrain.Event { return ins(o, "500", "too long", "1") }},
	{"too long in an update", "22001", `ALTER TABLE orders ALTER note TYPE text`,
		func(o *entrain.Table) entrain.Event { return upd(o, "1", "too long", "1") }},
	{"unique", "23505", `DROP INDEX one_note`,
		func(o *entrain.Table) entrain.Event { return ins(o, "500", "one", "1") }},
	{"foreign key", "23503", `ALTER TABLE orders DROP CONSTRAINT orders_parent`,
		func(o *entrain.Table) entrain.Event { return ins(o, "500", "x", "77") }},
	{"not a number", "22P02", `ALTER TABLE orders DROP CONSTRAINT orders_n_check; ALTER TABLE orders ALTER n TYPE text`,
		func(o *entrain.Table) entrain.Event { return ins(o, "500", "x", "seven") }},
	{"out of range", "22003", `ALTER TABLE orders ALTER n TYPE int8`,
		func(o *entrain.Table) entrain.Event { return ins(o, "500", "x", "3000000000") }},
}

// badExtra is what the case needs besides badSchema.
var badExtra = map[string]string{
	"unique":      `CREATE UNIQUE INDEX one_note ON orders (note) WHERE note = 'one'`,
	"foreign key": `ALTER TABLE orders ADD CONSTRAINT orders_parent FOREIGN KEY (n) REFERENCES parent`,
}

// TestSinkOneBadEvent proves P1 and P4: whatever is wrong with one row among many,
// it is named, and nothing of the batch stays; when it is mended, all is taken.
func TestSinkOneBadEvent(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		for i := range badCases {
			for _, around := range []int{0, 100} {
				pgtest.Exec(t, url, `DROP TABLE IF EXISTS orders, parent`, badSchema)
				if sql := badExtra[badCases[i].name]; sql != "" {
					pgtest.Exec(t, url, sql)
				}
				checkOneBad(t, url, i, around)
			}
		}
	})
}

// checkOneBad writes the bad row of a case with good ones around it.
func checkOneBad(t *testing.T, url string, number, around int) {
	t.Helper()
	c := badCases[number]
	o := describe(t, url, "public", "orders")
	f := newFeed(t, url)
	defer func() { f.w.Close() }()
	start := f.w.pos
	work := append(append(many(o, 1000, around), tx(ins(o, "400", "x", "1"), c.bad(o))), many(o, 2000, around)...)
	f.seq = 10
	b := f.batch(work...)
	err := f.w.Write(t.Context(), b)
	stop := wantRefused(t, err, fmt.Sprintf("source/i1/%d/1", 11+around))
	if dial.SQLState(err) != c.state {
		t.Errorf("%s: SQLSTATE %s, want %s", c.name, dial.SQLState(err), c.state)
	}
	if !strings.Contains(stop.What, "public.orders") || !strings.Contains(stop.Why, c.state) {
		t.Errorf("%s: %v", c.name, stop)
	}
	place := fmt.Sprintf("at commit LSN 0/%X, ordinal 1 (event source/i1/%d/1); everything through %s is applied", 11+around, 11+around, start)
	if !strings.Contains(stop.What, place) {
		t.Errorf("%s: %s does not say %s", c.name, stop.What, place)
	}
	leadsOn(t, url, stop)
	wantRows(t, url, `SELECT * FROM orders`, "1|one|1")
	pgtest.Exec(t, url, c.mend)
	if pos := f.open(); pos != start {
		t.Fatalf("position %v after a refused batch, want %v", pos, start)
	}
	if err := f.w.Write(t.Context(), b); err != nil {
		t.Fatalf("%s: after mending: %v", c.name, err)
	}
}

// leadsOn executes what a stop about rows says, which ends with the command that
// starts the pipeline.
func leadsOn(t *testing.T, url string, stop *entrain.Stop) {
	t.Helper()
	if !strings.Contains(stop.Next, "\n-- then: entrain run FILE") {
		t.Errorf("%s: next has no command: %s", stop.Code, stop.Next)
	}
	pgtest.Exec(t, url, stop.Next)
}

// TestSinkRefusedByState: a target that publishes the table and identifies none of its
// rows takes no update: not a thing that passes, but the row's stop.
func TestSinkRefusedByState(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `INSERT INTO orders VALUES (1, 'one', 1)`, `CREATE PUBLICATION chained FOR TABLE orders`)
		o := describe(t, url, "public", "orders")
		pgtest.Exec(t, url, `ALTER TABLE orders REPLICA IDENTITY NOTHING`)
		f := newFeed(t, url)
		b := f.batch(tx(upd(o, "1", "two", "2")))
		stop := wantStop(t, f.w.Write(t.Context(), b), "row_refused")
		if !strings.Contains(stop.Why, "is not in the state") || !strings.Contains(stop.Why, "55000") {
			t.Error(stop)
		}
		leadsOn(t, url, stop)
		pgtest.Exec(t, url, `ALTER TABLE orders REPLICA IDENTITY DEFAULT`)
		f.open()
		if err := f.w.Write(t.Context(), b); err != nil {
			t.Error(err)
		}
	})
}

// TestSinkRefusedFragment proves P4: a bad row in the last part of a transaction
// takes its first parts along.
func TestSinkRefusedFragment(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE orders (id int8 PRIMARY KEY, note text, n int4 CHECK (n > 0))`)
		o := describe(t, url, "public", "orders")
		f := newFeed(t, url)
		f.write(tx(ins(o, "1", "a", "1")))
		var events []entrain.Event
		for i := range 300 {
			events = append(events, ins(o, fmt.Sprint(100+i), "x", fmt.Sprint(290-i)))
		}
		all := numbered(2, 0, events)
		for _, part := range []*entrain.Batch{{Events: all[:100]}, {Events: all[100:200]}} {
			if err := f.w.Write(t.Context(), part); err != nil {
				t.Fatal(err)
			}
		}
		err := f.w.Write(t.Context(), &entrain.Batch{Events: all[200:], Through: position(2)})
		wantRefused(t, err, "source/i1/2/290")
		wantRows(t, url, `SELECT count(*) FROM orders`, "1")
	})
}

// TestSinkUpsertOnStepDown proves P1: an insert whose key the target has already
// replaces the row, with a usable index and without.
func TestSinkUpsertOnStepDown(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		for _, key := range []string{"PRIMARY KEY (id)", "PRIMARY KEY (id) DEFERRABLE", "PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED"} {
			pgtest.Exec(t, url, `DROP TABLE IF EXISTS orders`,
				`CREATE TABLE orders (id int8, note text, n int4, kept text DEFAULT 'new', `+key+`)`,
				`INSERT INTO orders VALUES (1, 'old', 1, 'mine'), (105, 'old', 5, 'mine')`)
			o := describe(t, url, "public", "orders")
			o.Columns = o.Columns[:3]
			f := newFeed(t, url)
			f.write(tx(ins(o, "1", "tip", "7")))
			f.bulk(many(o, 100, 20)...)
			wantRows(t, url, `SELECT * FROM orders WHERE id IN (1, 104, 105) ORDER BY id`, "1|tip|7|mine\n104|note|1|new\n105|note|1|mine")
		}
	})
}

// TestSinkMissingRows proves P1: updates and deletes of rows that the target lacks
// are counted, and logged once a table with a position.
func TestSinkMissingRows(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		var log bytes.Buffer
		f := newFeed(t, url)
		f.w.log = slog.New(slog.NewTextHandler(&log, nil))
		var work [][]entrain.Event
		for i := range 40 {
			id := fmt.Sprint(i)
			work = append(work, tx(upd(o, id, "x", "1")), tx(del(o, fmt.Sprint(100+i))))
		}
		f.write(work...)
		f.write(tx(upd(o, "1", "x", "~")))
		if got := f.w.Counts()["missing"]; got != 81 {
			t.Errorf("missing = %d, want 81", got)
		}
		if n := strings.Count(log.String(), "table=public.orders"); n != 1 || !strings.Contains(log.String(), "position=80") {
			t.Errorf("log has %d lines about the table:\n%s", n, log.String())
		}
	})
}

// TestSinkPartialInsert proves P1: a row that the log carried only in part is
// never stored.
func TestSinkPartialInsert(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		for _, around := range []int{0, 100} {
			f := newFeed(t, url)
			f.seq = 20
			err := f.w.Write(t.Context(), f.batch(append(many(o, 1, around), tx(ins(o, "999", "~", "1")))...))
			wantRefused(t, err, fmt.Sprintf("source/i1/%d/0", 21+around))
			wantRows(t, url, `SELECT count(*) FROM orders`, "0")
		}
	})
}

// TestSinkKeyOfSeveralRows proves P1: a key that is not one at the target is
// found out before anything is committed.
func TestSinkKeyOfSeveralRows(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE orders (id int8, note text, n int4)`, `INSERT INTO orders VALUES (1, 'a', 1), (1, 'b', 2)`)
		o := describe(t, url, "public", "orders")
		o.Columns[0].Key = true
		f := newFeed(t, url)
		wantRefused(t, f.w.Write(t.Context(), f.batch(tx(upd(o, "1", "x", "~")))), "source/i1/1/0")
		wantRows(t, url, `SELECT note FROM orders ORDER BY note`, "a\nb")
	})
}

// TestSinkLostUniqueIndex proves P2: a key that turns out to be several rows only
// when the batch is committed is a stop that says so, and nothing is applied again.
func TestSinkLostUniqueIndex(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		f := newFeed(t, url)
		f.write(tx(ins(o, "1", "a", "1"), upd(o, "1", "b", "1")))
		pgtest.Exec(t, url, `ALTER TABLE orders DROP CONSTRAINT orders_pkey; INSERT INTO orders VALUES (1, 'twin', 1)`)
		stop := wantStop(t, f.w.Write(t.Context(), f.batch(tx(upd(o, "1", "c", "2")))), "key_not_unique")
		if !strings.Contains(stop.What, `row "id" = '1', changed several rows at the target, at commit LSN 0/`) {
			t.Error(stop.What)
		}
		leadsOn(t, url, stop)
		if !strings.Contains(stop.What, "everything through "+position(2).String()) || !strings.Contains(stop.What, "source/i1/2/0") {
			t.Errorf("the stop does not say what is applied: %s", stop.What)
		}
		wantRows(t, url, `SELECT note FROM orders`, "c\nc")
		if n := f.w.Counts()["updated"]; n != 2 {
			t.Errorf("updated = %d, want 2", n)
		}
		pgtest.Exec(t, url, `DELETE FROM orders`, `ALTER TABLE orders ADD PRIMARY KEY (id)`)
		if pos := f.open(); pos != position(2) {
			t.Fatalf("position %v, want that of the batch", pos)
		}
		f.write(tx(ins(o, "1", "d", "1")))
	})
}

// TestSinkRenamedTable: a table that the target lacks may be one of its own under a
// new name: the SQL that renames it is all that it takes.
func TestSinkRenamedTable(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `CREATE SCHEMA "Old"; CREATE TABLE "Old"."it's" (id int8, "No te" text); CREATE TABLE other (id int8)`)
		f := newFeed(t, url)
		for _, c := range []struct{ from, to, alike string }{
			{"public.orders", "bills", `"public"."orders"`}, {`"Old"."it's"`, "x", `"Old"."it's"`},
		} {
			parts := strings.Split(strings.ReplaceAll(c.from, `"`, ""), ".")
			table := *describe(t, url, parts[0], parts[1])
			table.Schema, table.Name = "public", c.to
			table.Version = table.Fingerprint()
			values := slices.Repeat([]string{"1"}, len(table.Columns))
			b := f.batch(tx(ins(&table, values...)))
			stop := wantStop(t, f.w.Write(t.Context(), b), "table_renamed")
			if !strings.Contains(stop.What, c.alike+" has its columns") || !strings.Contains(stop.Why, "schema_changes.rename: stop") {
				t.Error(stop)
			}
			leadsOn(t, url, stop)
			f.open()
			if err := f.w.Write(t.Context(), b); err != nil {
				t.Error(err)
			}
			wantRows(t, url, "SELECT count(*) FROM public."+c.to+" WHERE id = 1", "1")
		}
	})
}

// TestSinkUnknownNames proves that the stops for what the target lacks print SQL
// that works (P5).
func TestSinkUnknownNames(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE orders (id int8 PRIMARY KEY, note text, n int4)`, `CREATE TYPE "Mood.x" AS ENUM ('ok')`)
		o := describe(t, url, "public", "orders")
		o.Columns = append(o.Columns, entrain.Column{Name: `we"ird`, Type: "int4", Modifier: -1},
			entrain.Column{Name: "mood", Type: "public.Mood.x", Modifier: -1})
		f := newFeed(t, url)
		b := f.batch(tx(ins(o, "1", "a", "2", "3", "ok")))
		for range 2 {
			next := wantStop(t, f.w.Write(t.Context(), b), "column_missing").Next
			if !strings.Contains(next, "already here: entrain table resync FILE public.orders") {
				t.Errorf("what rows get that are there is not said: %s", next)
			}
			pgtest.Exec(t, url, next)
			f.open()
		}
		if err := f.w.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		wantRows(t, url, `SELECT * FROM orders`, "1|a|2|3|ok")
		ghost := *o
		ghost.Name, ghost.Columns = "it's not there", o.Columns[:3]
		stop := wantStop(t, f.w.Write(t.Context(), f.batch(tx(del(&ghost, "1")))), "table_missing")
		if !strings.Contains(stop.What, "public.it's not there") || !strings.HasPrefix(stop.Next, "entrain check --fix-sql --only table_missing FILE") {
			t.Errorf("stop %+v", stop) // TestPG16IdentifierZoo does as it says
		}
		pgtest.Exec(t, url, `CREATE VIEW seen AS SELECT * FROM orders`)
		f.open()
		view := *o
		view.Name = "seen"
		wantStop(t, f.w.Write(t.Context(), f.batch(tx(ins(&view, "9", "a", "2", "3", "ok")))), "table_kind")
	})
}

// TestSinkSchemaChanges proves P9: what the session has prepared or learnt goes
// out of date while it runs, and it goes on.
func TestSinkSchemaChanges(t *testing.T) {
	changes := []string{
		`ALTER TABLE orders ALTER note TYPE varchar(100)`,
		`ALTER TABLE orders ADD COLUMN extra text DEFAULT 'x'`,
		`ALTER TABLE orders DROP COLUMN note; ALTER TABLE orders ADD COLUMN note text`,
		`DROP TABLE orders; ` + ordersSQL,
		`ALTER TABLE orders DROP CONSTRAINT orders_pkey; ALTER TABLE orders ADD PRIMARY KEY (id, n)`,
		`ALTER TABLE orders RENAME TO former; CREATE TABLE orders (note text, n int4, id int8 PRIMARY KEY)`,
	}
	onMajors(t, func(t *testing.T, url string) {
		for i, sql := range changes {
			for _, path := range []string{"tip", "bulk", "fragment"} {
				pgtest.Exec(t, url, `DROP TABLE IF EXISTS orders, former`, ordersSQL)
				o := describe(t, url, "public", "orders")
				f := newFeed(t, url)
				f.write(tx(ins(o, "1", "a", "1"), upd(o, "1", "b", "1")))
				f.bulk(append(many(o, 100, 20), tx(del(o, "100")))...)
				pgtest.Exec(t, url, sql)
				f.continueAfter(path, o)
				wantRows(t, url, `SELECT id, note, n FROM orders WHERE id IN (2, 3, 230) ORDER BY id`, "2|tip|3\n230|note|1")
				if t.Failed() {
					t.Fatalf("change %d, %s", i, path)
				}
			}
		}
	})
}

// continueAfter writes rows 2, 3 (deleted again) and 200 to 259.
func (f *feed) continueAfter(path string, o *entrain.Table) {
	f.t.Helper()
	work := append(many(o, 200, 60), tx(ins(o, "2", "first", "3"), ins(o, "3", "x", "3")), tx(upd(o, "2", "tip", "3"), del(o, "3")))
	switch path {
	case "tip":
		f.write(work[60:]...)
		f.write(work[:60]...)
	case "bulk":
		f.bulk(work...)
	default:
		first := f.batch(work[:60]...)
		f.seq--
		for i := range first.Events {
			first.Events[i].Tx = first.Events[0].Tx
		}
		first.Through = entrain.Position{}
		if err := f.w.Write(f.t.Context(), first); err != nil {
			f.t.Fatal(err)
		}
		f.write(work[60:]...)
	}
}

// TestSinkLostStatements proves P9: a session whose statements are gone, as behind
// some poolers, asks for a new one.
func TestSinkLostStatements(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		f := newFeed(t, url)
		f.write(tx(ins(o, "1", "a", "1")))
		if err := run(t.Context(), f.w.conn, "DEALLOCATE ALL"); err != nil {
			t.Fatal(err)
		}
		err := f.w.Write(t.Context(), f.batch(tx(ins(o, "2", "b", "1"))))
		if !entrain.IsRetryable(err) {
			t.Fatalf("got %v, want a retryable error", err)
		}
		f.open()
		f.write(tx(ins(o, "2", "b", "1")))
		wantRows(t, url, `SELECT id FROM orders ORDER BY id`, "1\n2")
	})
}

// TestSinkStatementCache proves P6: what a session prepares is bounded at both
// ends.
func TestSinkStatementCache(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		var columns, values []string
		for i := range 12 {
			columns = append(columns, fmt.Sprintf("c%d int4", i))
			values = append(values, "1")
		}
		pgtest.Exec(t, url, `CREATE TABLE wide (id int8 PRIMARY KEY, `+strings.Join(columns, ", ")+`)`)
		wide := describe(t, url, "public", "wide")
		f := newFeed(t, url)
		f.write(tx(ins(wide, append([]string{"1"}, values...)...)))
		for i := range maxStatements + 200 {
			cells := append([]string{"1"}, values...)
			for bit := range 12 {
				if i>>bit&1 == 1 {
					cells[1+bit] = "~"
				}
			}
			f.write(tx(upd(wide, cells...)))
		}
		f.write()
		rows, err := dial.QueryRows(t.Context(), f.w.conn, `SELECT count(*)::text FROM pg_prepared_statements WHERE name NOT LIKE 'entrain_catalog_%'`)
		if err != nil {
			t.Fatal(err)
		}
		if rows[0][0] != fmt.Sprint(maxStatements) || len(f.w.stmts.byKey) != maxStatements {
			t.Errorf("%s statements at the server, %d here, want %d", rows[0][0], len(f.w.stmts.byKey), maxStatements)
		}
	})
}

// TestSinkConfig proves that mistakes are told without dialling.
func TestSinkConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"url is missing":  {Pipeline: "p"},
		"name is missing": {URL: "postgres://127.0.0.1:1/x"},
		"connection URL":  {Pipeline: "p", URL: "postgres://user:hunter2@127.0.0.1:port/x"},
	} {
		_, err := NewSink(cfg)
		if err == nil || !strings.Contains(err.Error(), name) && name != "name is missing" || strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewSink(Config{Pipeline: "p", URL: connector.Secret("postgres://127.0.0.1:1/x")}); err != nil {
		t.Error(err)
	}
}
