package apply

import (
	"fmt"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSinkConformance runs the suite that every sink passes (P1, P2, P3, P4).
func TestSinkConformance(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("pg%d", major), func(t *testing.T) {
			var url string
			entraintest.TestSink(t, entraintest.SinkHarness{
				New: func(t testing.TB) entrain.Sink {
					url = pgtest.CreateDatabase(t, pgtest.Shared(t, major))
					pgtest.Exec(t, url, `CREATE TABLE public.conformance (id bigint PRIMARY KEY, name text, body text, n numeric)`)
					return testSink(t, url)
				},
				Rows: func(t testing.TB) entraintest.Rows {
					return conformanceRows(t, url)
				},
				Keeps: entraintest.KeepsPosition,
			})
		})
	}
}

func conformanceRows(t testing.TB, url string) entraintest.Rows {
	rows := entraintest.Rows{}
	for _, row := range pgtest.Query(t, url, `SELECT id::text, name, body, n::text FROM public.conformance`) {
		cells := make([]entraintest.Cell, len(row))
		for i, v := range row {
			cells[i] = entraintest.Text(v)
			if v == pgtest.Null {
				cells[i] = entraintest.Null
			}
		}
		rows[row[0]] = cells
	}
	return rows
}

const ordersSQL = `CREATE TABLE orders (id int8 PRIMARY KEY, note text, n int4)`

// TestSinkOperations proves P1 and P3 for both paths: every operation, several
// to a key, in one batch.
func TestSinkOperations(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		for name, write := range map[string]func(*feed, ...[]entrain.Event){"tip": (*feed).write, "bulk": (*feed).bulk} {
			pgtest.Exec(t, url, `TRUNCATE orders`, `DROP SCHEMA IF EXISTS entrain CASCADE`) // what comes again counts otherwise
			f := newFeed(t, url)
			write(f,
				tx(ins(o, "1", "a", "1"), ins(o, "2", "b", "2"), ins(o, "3", "c", "∅")),
				tx(upd(o, "1", "~", "10"), upd(o, "1", "a2", "~"), del(o, "2"), ins(o, "2", "again", "∅")),
				tx(rekey(o, "3", "30", "~", "7"), ins(o, "4", "d", "4"), del(o, "4")),
				tx(upd(o, "99", "nobody", "1"), del(o, "98")),
			)
			wantRows(t, url, `SELECT * FROM orders ORDER BY id`, "1|a2|10\n2|again|"+pgtest.Null+"\n30|c|7")
			if got := f.w.Counts()["missing"]; got != 2 {
				t.Errorf("%s: missing = %d, want 2", name, got)
			}
			if got := f.w.Counts()["inserted"]; got != 5 {
				t.Errorf("%s: inserted = %d, want 5", name, got)
			}
			if got := f.w.Counts()["stepdowns"]; got != 0 {
				t.Errorf("%s: %d step-downs, want none", name, got)
			}
		}
	})
}
