package apply

import (
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSinkDropDoubles: doubles that nobody fills any more go, those of tables that are
// gone included; those to keep and those of other pipelines stay, and a session that
// was replaced removes nothing. Afterwards a double can be begun and put in place.
func TestSinkDropDoubles(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `INSERT INTO orders VALUES (1, 'old', 1); CREATE TABLE kept (id int8 PRIMARY KEY);
			CREATE TABLE "gone.%" (id int8 PRIMARY KEY); CREATE TABLE theirs (id int8 PRIMARY KEY)`)
		o, kept := describe(t, url, "public", "orders"), describe(t, url, "public", "kept")
		f := newFeed(t, url)
		f.write(tx(truncate(doubleOf(o)), truncate(doubleOf(kept)), truncate(doubleOf(describe(t, url, "public", "gone.%")))), reads(doubleOf(o), 2, 3, "new", "2"))
		other, err := NewSink(Config{URL: connector.Secret(pgtest.TargetURL(url)), Pipeline: "test2"})
		if err != nil {
			t.Fatal(err)
		}
		theirs := newFeed(t, url)
		theirs.w.Close()
		w, err := other.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.(*writer).Position(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.open() // in the place of the session that theirs has opened
		theirs.w = w.(*writer)
		theirs.write(tx(truncate(doubleOf(describe(t, url, "public", "theirs")))))
		pgtest.Exec(t, url, `DROP TABLE "gone.%"`)
		wantRows(t, url, doublesLeft, "8")

		replaced := f.w
		f.w = nil
		f.open()
		defer replaced.Close()
		wantStop(t, replaced.DropDoubles(t.Context(), nil), "fenced")
		wantRows(t, url, doublesLeft, "8")
		for range 2 {
			if err := f.w.DropDoubles(t.Context(), []entrain.TableName{{Schema: "public", Name: "kept"}}); err != nil {
				t.Fatal(err)
			}
			wantRows(t, url, `SELECT count(*), count(*) FILTER (WHERE obj_description(oid) LIKE '%kept' OR obj_description(oid) LIKE '%theirs') FROM pg_class WHERE relkind = 'r' AND relname LIKE 'double\_%'`, "2|2")
		}
		f.write(tx(readEnd(doubleOf(kept))), tx(truncate(doubleOf(o))), reads(doubleOf(o), 5, 5, "new", "2"), tx(readEnd(doubleOf(o))))
		wantRows(t, url, `SELECT * FROM orders`, "5|new|2")
	})
}

// TestSinkDropDoublesRefused: what cannot be removed leaves the session as it was.
func TestSinkDropDoublesRefused(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		f := newFeed(t, url)
		f.write(tx(truncate(doubleOf(o))))
		double := `entrain.double_` + pgtest.QueryOne(t, url, `SELECT 'orders'::regclass::oid`)
		pgtest.Exec(t, url, `CREATE VIEW v AS SELECT * FROM `+double)
		if err := f.w.DropDoubles(t.Context(), nil); err == nil {
			t.Error("a table was dropped from under a view")
		}
		wantRows(t, url, doublesLeft, "2")
		f.write(tx(ins(o, "1", "a", "1")))
		wantRows(t, url, `SELECT count(*) FROM orders`, "1")
		pgtest.Exec(t, url, `DROP VIEW v`)
		if err := f.w.DropDoubles(t.Context(), nil); err != nil {
			t.Error(err)
		}
		wantRows(t, url, doublesLeft, "0")
	})
}
