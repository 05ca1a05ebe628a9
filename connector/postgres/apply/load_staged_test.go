package apply

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestLoadStaged proves P1 and P3 for a table that has rows: those stay, and a row
// that is there already is replaced, whatever identifies it.
func TestLoadStaged(t *testing.T) {
	for name, sql := range map[string]string{
		"primary key":  `CREATE TABLE orders (id int8 PRIMARY KEY, note text, n int4)`,
		"always":       `CREATE TABLE orders (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text, n int4)`,
		"deferrable":   `CREATE TABLE orders (id int8 PRIMARY KEY DEFERRABLE, note text, n int4)`,
		"domain":       `CREATE DOMAIN short AS varchar(20) CHECK (value <> 'never'); CREATE TABLE orders (id int8 PRIMARY KEY, note short, n int4)`,
		"partitions":   `CREATE TABLE orders (id int8 PRIMARY KEY, note text, n int4) PARTITION BY HASH (id); CREATE TABLE p0 PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE p1 PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 1)`,
		"more columns": `CREATE TABLE orders (id int8 PRIMARY KEY, more int4 NOT NULL DEFAULT 7, note text, n int4, twice int4 GENERATED ALWAYS AS (n * 2) STORED)`,
	} {
		t.Run(name, func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) {
				pgtest.Exec(t, url, sql, `INSERT INTO orders (id, note, n) OVERRIDING SYSTEM VALUE VALUES (1, 'theirs', 1), (9, 'theirs', 9)`)
				o := describe(t, url, "public", "orders")
				keep := o.Columns[:0]
				for _, c := range o.Columns {
					if c.Name == "id" {
						c.Key = true
					}
					if c.Name != "more" {
						keep = append(keep, c)
					}
				}
				o.Columns = keep
				lt := newLoadTest(t, url)
				var said bytes.Buffer
				lt.sink.cfg.Log = slog.New(slog.NewTextHandler(&said, nil))
				lt.load(o)
				l := lt.load(o)
				if strings.Count(said.String(), "had rows already") != 1 || !strings.Contains(said.String(), "table=public.orders") {
					t.Errorf("said %q", said.String())
				}
				lt.part(l, o, []string{"1", "ours", "10"}, []string{"2", "ours", "∅"})
				lt.text(l, 1, "3\tours\t30\n")
				if got := lt.mode("orders") + lt.stages(); got != "staging1" {
					t.Errorf("mode and stages: %s", got)
				}
				wantRows(t, url, `SELECT count(*) FROM orders`, "2")
				lt.finish(l)
				wantRows(t, url, `SELECT id, note, n FROM orders ORDER BY id`, "1|ours|10\n2|ours|"+pgtest.Null+"\n3|ours|30\n9|theirs|9")
				if got := lt.mode("orders") + lt.stages(); got != "merged0" {
					t.Errorf("mode and stages: %s", got)
				}
			})
		})
	}
}

// TestLoadDirectColumns: what is special about columns does not hinder the
// direct way.
func TestLoadDirectColumns(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE always (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int4)`,
			`CREATE TABLE twice (id int8 PRIMARY KEY, n int4, twice int4 GENERATED ALWAYS AS (n * 2) STORED)`)
		a, tw := describe(t, url, "public", "always"), describe(t, url, "public", "twice")
		tw.Columns = append(tw.Columns, entrain.Column{Name: "twice", Type: "int4", Modifier: -1})
		lt := newLoadTest(t, url)
		l := lt.load(a)
		lt.part(l, a, []string{"5", "1"})
		lt.text(l, 1, "6\t2\n")
		lt.finish(l)
		wantRows(t, url, `SELECT * FROM always ORDER BY id`, "5|1\n6|2")
		l = lt.load(tw)
		lt.part(l, tw, []string{"5", "1", "99"}, []string{"6", "2", "99"})
		if _, err := l.Part(t.Context(), &copyTextRows{text: "1\t2\t3\n", rows: 1}); err == nil || !strings.Contains(err.Error(), "Read was called") {
			t.Errorf("the server would be told a value that it generates: %v", err)
		}
		lt.finish(l)
		wantRows(t, url, `SELECT * FROM twice ORDER BY id`, "5|1|2\n6|2|4")
	})
}

// TestLoadKeyless: rows that nothing identifies go only where there are none, and
// the stop says what to do.
func TestLoadKeyless(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE log (line text); INSERT INTO log VALUES ('theirs')`)
		k := keyless(describe(t, url, "public", "log"))
		lt := newLoadTest(t, url)
		_, err := lt.sink.Load(t.Context(), snapshotOf(k))
		stop := wantStop(t, err, "load_not_empty")
		pgtest.Exec(t, url, stop.Next)
		l := lt.load(k)
		lt.part(l, k, []string{"a"}, []string{"a"})
		lt.finish(l)
		wantRows(t, url, `SELECT line FROM log`, "a\na")
	})
}

// TestLoadRedo proves P2: what an unfinished load has left is not there twice.
func TestLoadRedo(t *testing.T) {
	for name, c := range map[string]struct{ sql, mode, after string }{
		"direct":     {ordersSQL, "direct", ""},
		"referenced": {ordersSQL + `; CREATE TABLE items (order_id int8 REFERENCES orders ON DELETE CASCADE)`, "direct", ""},
		"staged":     {ordersSQL + `; INSERT INTO orders VALUES (9, 'theirs', 9)`, "staging", "\n9|theirs|9"},
		"triggers": {ordersSQL + `; CREATE TABLE seen (id int8); CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO public.seen VALUES (new.id); RETURN new; END $$;
			CREATE TRIGGER see AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION see()`, "staging", ""},
	} {
		t.Run(name, func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) {
				pgtest.Exec(t, url, c.sql)
				o := describe(t, url, "public", "orders")
				lt := newLoadTest(t, url)
				l := lt.load(o)
				lt.part(l, o, []string{"1", "old", "1"}, []string{"2", "gone", "2"})
				if got := lt.mode("orders"); got != c.mode {
					t.Fatalf("mode %q", got)
				}
				again := newLoadTest(t, url) // another process
				l = again.load(o)
				again.part(l, o, []string{"1", "new", "1"})
				again.finish(l)
				wantRows(t, url, `SELECT * FROM orders ORDER BY id`, "1|new|1"+c.after)
				if name == "triggers" {
					wantRows(t, url, `SELECT * FROM seen`, "1")
				}
				mustLoad(t, again.complete(snapshotOf(o)))
				l = again.load(o) // a new load beside what the first one has finished
				again.part(l, o, []string{"3", "more", "3"})
				again.finish(l)
				wantRows(t, url, `SELECT id FROM orders WHERE id IN (1, 3) ORDER BY id`, "1\n3")
			})
		})
	}
}

// TestLoadRedoLeavesOthersAlone: rows that refer to ours are not taken along.
func TestLoadRedoLeavesOthersAlone(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL+`; CREATE TABLE items (order_id int8 REFERENCES orders ON DELETE CASCADE)`)
		o := describe(t, url, "public", "orders")
		lt := newLoadTest(t, url)
		lt.part(lt.load(o), o, []string{"1", "a", "1"})
		pgtest.Exec(t, url, `INSERT INTO items VALUES (1)`)
		_, err := lt.sink.Load(t.Context(), snapshotOf(o))
		stop := wantStop(t, err, "load_referenced")
		wantRows(t, url, `SELECT count(*) FROM items`, "1")
		pgtest.Exec(t, url, stop.Next)
		l := lt.load(o)
		lt.part(l, o, []string{"1", "a", "1"})
		lt.finish(l)
	})
}

// TestLoadFenced proves P2: a process that lost its position stores nothing more,
// even if the rows are on their way already.
func TestLoadFenced(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		if _, err := testSink(t, url).Load(t.Context(), snapshotOf(o)); err == nil {
			t.Error("a sink without a session loads")
		}
		old := newLoadTest(t, url)
		l := old.load(o)
		old.part(l, o, []string{"1", "old", "1"})
		late := &rowBatches{table: o, rows: [][]string{{"2", "old", "2"}}}
		taken := false
		_, err := l.Part(t.Context(), &during{rowBatches: late, do: func() {
			if !taken {
				taken = true
				newLoadTest(t, url)
			}
		}})
		wantStop(t, err, "fenced")
		_, err = l.Part(t.Context(), &rowBatches{table: o, rows: [][]string{{"3", "old", "3"}}})
		wantStop(t, err, "fenced")
		wantStop(t, l.Finish(t.Context(), ""), "fenced")
		_, err = old.sink.Load(t.Context(), snapshotOf(o))
		wantStop(t, err, "fenced")
		wantStop(t, old.complete(snapshotOf(o)), "fenced")
		wantRows(t, url, `SELECT id FROM orders`, "1")
		if got := old.mode("orders"); got != "direct" {
			t.Errorf("mode %q", got)
		}
	})
}

// TestLoadOfTheSameTableTwice: of two loads in one process the later one counts.
func TestLoadOfTheSameTableTwice(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		lt := newLoadTest(t, url)
		first := lt.load(o)
		second := lt.load(o)
		_, err := first.Part(t.Context(), &rowBatches{table: o, rows: [][]string{{"2", "old", "2"}}})
		wantStop(t, err, "fenced")
		lt.part(second, o, []string{"1", "a", "1"})
		wantStop(t, first.Finish(t.Context(), ""), "fenced")
		lt.finish(second)
		wantRows(t, url, `SELECT id FROM orders`, "1")
	})
}
