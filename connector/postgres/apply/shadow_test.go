package apply

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// doubleOf is the double of a table.
func doubleOf(t *entrain.Table) *entrain.Table {
	d := *t
	d.Shadow = true
	return &d
}

func readEnd(t *entrain.Table) entrain.Event { return entrain.Event{Op: entrain.OpReadEnd, Table: t} }

func reads(t *entrain.Table, from, to int, rest ...string) []entrain.Event {
	var events []entrain.Event
	for i := from; i <= to; i++ {
		events = append(events, readRow(t, append([]string{fmt.Sprint(i)}, rest...)...))
	}
	return events
}

const doublesLeft = `SELECT count(*) FROM pg_class WHERE relname LIKE 'double\_%'`

// TestSinkDouble proves P3: a double is filled out of sight, in any split of its
// rows, while the table itself changes, and then its rows are the table's: those
// that are equal were not touched, and what only the target has stays.
func TestSinkDouble(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE o (id int8 PRIMARY KEY, note text NOT NULL CHECK (note <> ''), n int4,
			twice int8 GENERATED ALWAYS AS (id * 2) STORED, here text DEFAULT 'new')`)
		o := describe(t, url, "public", "o")
		o.Columns = o.Columns[:3]
		o.Version = o.Fingerprint()
		for name, write := range bothPaths {
			d := doubleOf(o)
			pgtest.Exec(t, url, `TRUNCATE o; INSERT INTO o (id, note, n, here) SELECT i, 'old', i, 'kept' FROM generate_series(1, 50) i`)
			f := newFeed(t, url)
			write(f, tx(truncate(d)))
			write(f, reads(d, 1, 10, "new", "1"), reads(d, 11, 11, "old", "11"))
			f.bulk(reads(d, 1001, 1300, "new", "∅"))
			f.bulk(reads(d, 1101, 1400, "again", "∅"))
			write(f, settlingAll(upd(d, "2", "~", "22"), upd(d, "800", "x", "~"), del(d, "3"), del(d, "801"), ins(d, "4", "in", "4"), rekey(d, "5", "55", "~", "5")))
			write(f, tx(del(o, "50"), upd(o, "1", "live", "~")))
			wantRows(t, url, `SELECT count(*), count(*) FILTER (WHERE note = 'old') FROM o`, "49|48")
			untouched := rowsOf(t, url, `SELECT xmin, ctid FROM o WHERE id = 11`)
			write(f, tx(readEnd(d)), tx(ins(o, "60", "after", "60")))
			wantRows(t, url, `SELECT * FROM o WHERE id < 1000 ORDER BY id`, `1|new|1|2|kept
2|new|22|4|kept
4|in|4|8|kept
6|new|1|12|kept
7|new|1|14|kept
8|new|1|16|kept
9|new|1|18|kept
10|new|1|20|kept
11|old|11|22|kept
55|new|5|110|new
60|after|60|120|new`)
			wantRows(t, url, `SELECT note, count(*) FROM o WHERE id > 1000 GROUP BY note ORDER BY note`, "again|300\nnew|100")
			wantRows(t, url, `SELECT xmin, ctid FROM o WHERE id = 11`, untouched)
			wantRows(t, url, doublesLeft, "0")
			counts := f.w.Counts()
			if counts["missing"] != 0 || counts["stepdowns"] != 0 || counts["read"] != 611 {
				t.Errorf("%s: %v", name, counts)
			}
			err := f.w.Write(t.Context(), f.batch(tx(truncate(d)), tx(readRow(d, "1", "", "1"))))
			if !strings.Contains(fmt.Sprint(err), "23514") {
				t.Errorf("%s: a row that the table would not take: %v", name, err)
			}
		}
	})
}

// TestSinkDoubleBatches proves P2 and P3: all of a copy in one batch, begun anew
// after one that was left, in an open transaction that a killed session leaves
// without a trace.
func TestSinkDoubleBatches(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `INSERT INTO orders VALUES (1, 'old', 1), (2, 'old', 2)`)
		o := describe(t, url, "public", "orders")
		d := doubleOf(o)
		f := newFeed(t, url)
		f.write(tx(truncate(d)), reads(d, 1, 5, "left", "∅"))
		f.bulk(tx(truncate(d)), reads(d, 2, 4, "new", "∅"), tx(readEnd(d), del(o, "2")))
		wantRows(t, url, `SELECT * FROM orders ORDER BY id`, "3|new|"+pgtest.Null+"\n4|new|"+pgtest.Null)
		wantRows(t, url, doublesLeft, "0")

		f.write(tx(truncate(d)), reads(d, 10, 12, "second", "∅"))
		swap := f.batch(tx(readEnd(d)))
		swap.Through = entrain.Position{}
		if err := f.w.Write(t.Context(), swap); err != nil {
			t.Fatal(err)
		}
		pid := f.w.conn.PID()
		pgtest.Exec(t, url, fmt.Sprintf(`SELECT pg_terminate_backend(%d)`, pid))
		swap.Through = position(f.seq)
		if err := f.w.Write(t.Context(), swap); err == nil || !entrain.IsRetryable(err) {
			t.Errorf("a session that was ended: %v", err)
		}
		wantRows(t, url, `SELECT count(*) FROM orders WHERE note = 'new'`, "2")
		if pos := f.open(); pos != position(f.seq-1) {
			t.Errorf("the position is %s, want that before the swap", pos)
		}
		f.seq--
		f.write(tx(readEnd(d)))
		wantRows(t, url, `SELECT note, count(*) FROM orders GROUP BY note`, "second|3")
	})
}

// TestSinkDoubleLost proves P5: a double that is not there, or no longer as its
// table, is a stop by name, whatever comes first, on both paths.
func TestSinkDoubleLost(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		double := `entrain.double_` + pgtest.QueryOne(t, url, `SELECT 'orders'::regclass::oid`)
		changes := map[string]string{
			"dropped": `DROP TABLE ` + double, "column": `ALTER TABLE orders ADD COLUMN more int4`,
			"anew": `ALTER TABLE orders RENAME TO was; ` + ordersSQL,
		}
		for _, what := range []string{"dropped", "column", "anew"} {
			for _, events := range []func(d *entrain.Table, values ...string) []entrain.Event{
				func(d *entrain.Table, _ ...string) []entrain.Event { return tx(readEnd(d)) },
				func(d *entrain.Table, values ...string) []entrain.Event {
					return tx(settling(ins(d, append([]string{"1"}, values...)...)))
				},
				func(d *entrain.Table, values ...string) []entrain.Event { return reads(d, 1, 200, values...) },
			} {
				pgtest.Exec(t, url, `DROP TABLE IF EXISTS was; ALTER TABLE orders DROP COLUMN IF EXISTS more`)
				f := newFeed(t, url)
				f.write(tx(truncate(doubleOf(o))))
				pgtest.Exec(t, url, strings.ReplaceAll(changes[what], double, "entrain.double_"+pgtest.QueryOne(t, url, `SELECT 'orders'::regclass::oid`)))
				table, values := o, []string{"a", "1"}
				if what == "column" {
					table, values = describe(t, url, "public", "orders"), append(values, "1")
				}
				work := events(doubleOf(table), values...)
				stop := wantStop(t, f.w.Write(t.Context(), f.batch(work)), "shadow_lost")
				if stop.Next != "entrain table resync FILE public.orders" {
					t.Errorf("next: %s", stop.Next)
				}
				f.open()
				f.write(tx(truncate(doubleOf(table))), tx(readEnd(doubleOf(table))))
			}
		}
	})
}

// TestSinkDoubleRefusals proves P5: what has no key, and a truncate of a double
// and other tables, are refused.
func TestSinkDoubleRefusals(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `CREATE TABLE bare (id int8, v text)`)
		o, bare := describe(t, url, "public", "orders"), describe(t, url, "public", "bare")
		bare.Columns[0].Key = true
		bare.Version = bare.Fingerprint()
		f := newFeed(t, url)
		wantStop(t, f.w.Write(t.Context(), f.batch(tx(truncate(doubleOf(bare))))), "key_index_missing")
		for _, mixed := range [][]*entrain.Table{{doubleOf(o), o}, {o, doubleOf(o)}} {
			f.open()
			if err := f.w.Write(t.Context(), f.batch(tx(truncate(mixed...)))); err == nil || entrain.IsRetryable(err) {
				t.Errorf("a mixed truncate: %v", err)
			}
		}
		wantRows(t, url, doublesLeft, "0")
	})
}

// TestSinkDoubleConstraints proves P1 and P3: rows whose unique values moved,
// references inside the table and to it, triggers, generated identities; and P5 where
// no order of the changes passes.
func TestSinkDoubleConstraints(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE u (id int8 PRIMARY KEY, who text UNIQUE, seq int8 GENERATED ALWAYS AS IDENTITY, here text DEFAULT 'new');
			INSERT INTO u OVERRIDING SYSTEM VALUE SELECT i, 'w' || i, i, 'kept' || i FROM generate_series(1, 5) i;
			CREATE TABLE r (id int8 PRIMARY KEY, up int8 REFERENCES r); INSERT INTO r VALUES (1, NULL), (2, 1), (3, 2);
			CREATE TABLE log (n int8); CREATE TABLE fired (id int8 PRIMARY KEY, v text); INSERT INTO fired VALUES (1, 'a'), (2, 'b'), (3, 'c');
			CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (coalesce(new.id, old.id)); RETURN NULL; END $$;
			CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON fired FOR EACH ROW EXECUTE FUNCTION note(); GRANT INSERT ON log TO public`)
		u, r, fired := describe(t, url, "public", "u"), describe(t, url, "public", "r"), describe(t, url, "public", "fired")
		u.Columns = u.Columns[:3]
		u.Version = u.Fingerprint()
		du, dr, df := doubleOf(u), doubleOf(r), doubleOf(fired)
		f := newFeed(t, url)
		swapIn := func(d *entrain.Table, rows ...entrain.Event) error {
			return f.w.Write(t.Context(), f.batch(tx(truncate(d)), rows, tx(readEnd(d))))
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(swapIn(du, readRow(du, "1", "w2", "1"), readRow(du, "2", "w1", "2"), readRow(du, "3", "w3", "33"), readRow(du, "6", "w4", "6")))
		wantRows(t, url, `SELECT * FROM u ORDER BY id`, "1|w2|1|kept1\n2|w1|2|kept2\n3|w3|33|kept3\n6|w4|6|new")
		must(swapIn(dr, readRow(dr, "3", "4"), readRow(dr, "4", "∅")))
		wantRows(t, url, `SELECT * FROM r ORDER BY id`, "3|4\n4|"+pgtest.Null)
		must(swapIn(df, readRow(df, "1", "a"), readRow(df, "2", "x"), readRow(df, "4", "d")))
		wantRows(t, url, `SELECT string_agg(n::text, ' ' ORDER BY n) FROM log`, "2 3 4")

		pgtest.Exec(t, url, `CREATE TABLE c (u int8 REFERENCES u); INSERT INTO c VALUES (1)`)
		f.open()
		stop := wantStop(t, swapIn(du, readRow(du, "1", "w1", "1"), readRow(du, "2", "w2", "2")), "shadow_refused")
		pgtest.Exec(t, url, stop.Next)
		f.open()
		must(swapIn(du, readRow(du, "1", "w1", "1"), readRow(du, "2", "w2", "2")))
		stop = wantStop(t, swapIn(du, readRow(du, "2", "w2", "2")), "shadow_refused")
		pgtest.Exec(t, url, stop.Next)
		f.open()
		must(swapIn(du, readRow(du, "2", "w2", "2")))
		wantRows(t, url, `SELECT id, who FROM u`, "2|w2")
	})
}

// TestSinkDoubleReaders proves P4: a reader never sees an empty table, nor one with
// rows of both kinds, while one double after another takes its place.
func TestSinkDoubleReaders(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `INSERT INTO orders SELECT i, 'v0', 1 FROM generate_series(1, 400) i`)
		o := describe(t, url, "public", "orders")
		d := doubleOf(o)
		conn := pgtest.Connect(t, url)
		stop, done := make(chan struct{}), make(chan error, 1)
		looks := 0
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				row, err := dial.QueryRow(t.Context(), conn, `SELECT count(DISTINCT note), count(*), sum(id) FROM orders`)
				if err == nil && (row[0] != "1" || row[1] != "400" || row[2] != "80200" && row[2] != "120200") {
					err = fmt.Errorf("a reader saw %v", row)
				}
				if err != nil {
					done <- err
					return
				}
				looks++
			}
		}()
		f := newFeed(t, url)
		for round := range 12 {
			shift := 100 * (round % 2)
			f.write(tx(truncate(d)), reads(d, 1+shift, 400+shift, fmt.Sprint("v", round+1), "1"))
			f.write(tx(readEnd(d)))
		}
		close(stop)
		if err := <-done; err != nil || looks < 12 {
			t.Errorf("after %d looks: %v", looks, err)
		}
	})
}

// TestSinkDoubleTeardown proves P7: doubles that are left are listed for their own
// pipeline only, and the schema goes with them, identities of theirs included.
func TestSinkDoubleTeardown(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `CREATE TABLE "it's ""k" (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY)`)
		f := newFeed(t, url)
		f.write(tx(truncate(doubleOf(describe(t, url, "public", "orders"))), truncate(doubleOf(describe(t, url, "public", `it's "k`)))))
		f.w.Close()
		other, err := NewSink(Config{URL: connector.Secret(pgtest.TargetURL(url)), Pipeline: "tes"})
		if err != nil {
			t.Fatal(err)
		}
		list, err := other.Teardown(t.Context())
		if err != nil || len(list) != 0 {
			t.Fatalf("another pipeline lists %v, %v", list, err)
		}
		s := testSink(t, url)
		if list, err = s.Teardown(t.Context()); err != nil || len(list) != 4 || !strings.Contains(list[0].What+list[1].What, `public.it's "k`) {
			t.Fatalf("teardown lists %v, %v", list, err)
		}
		pgtest.Exec(t, url, list[0].SQL)
		removeAll(t, list)
		wantRows(t, url, `SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain'`, "0")
	})
}

// TestSinkDoublesOfTwoTables: of two tables that a reference ties together, and that
// are both made anew, either may be put in place first.
func TestSinkDoublesOfTwoTables(t *testing.T) {
	pgtest.AsOwner(t)
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE p (id int8 PRIMARY KEY); CREATE TABLE c (id int8 PRIMARY KEY, p int8 REFERENCES p)`)
		p, c := describe(t, url, "public", "p"), describe(t, url, "public", "c")
		dp, dc := doubleOf(p), doubleOf(c)
		for name, ends := range map[string][][]entrain.Event{
			"child first":  {tx(readEnd(dc)), tx(readEnd(dp))},
			"parent first": {tx(readEnd(dp)), tx(readEnd(dc))},
		} {
			pgtest.Exec(t, url, `TRUNCATE p, c; INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1), (2, 2)`)
			f := newFeed(t, url)
			f.bulk(tx(truncate(dp)), tx(truncate(dc)), tx(readRow(dp, "2"), readRow(dp, "3")), tx(readRow(dc, "2", "3"), readRow(dc, "3", "2")))
			for _, end := range ends {
				f.bulk(end)
			}
			wantRows(t, url, `SELECT (SELECT string_agg(id::text, ',' ORDER BY id) FROM p), (SELECT string_agg(id || '→' || p, ',' ORDER BY id) FROM c)`, "2,3|2→3,3→2")
			if got := rowsOf(t, url, `SHOW session_replication_role`); got != "origin" {
				t.Errorf("%s: the role is %s", name, got)
			}
			err := f.w.Write(t.Context(), f.batch(tx(ins(c, "9", "9"))))
			if !strings.Contains(fmt.Sprint(err), "23503") {
				t.Errorf("%s: references are not checked afterwards: %v", name, err)
			}
		}
	})
}
