package apply

import (
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSinkReads proves P3 for rows that were read, on both paths: each replaces
// what it meets, in order with changes; the end of a table does nothing, even for
// one that the target does not have.
func TestSinkReads(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		gone := &entrain.Table{Schema: "public", Name: "nowhere"}
		end := func(t *entrain.Table) entrain.Event { return entrain.Event{Op: entrain.OpReadEnd, Table: t} }
		for name, write := range map[string]func(*feed, ...[]entrain.Event){"tip": (*feed).write, "bulk": (*feed).bulk} {
			pgtest.Exec(t, url, `TRUNCATE orders; INSERT INTO orders VALUES (1, 'old', 1), (2, 'old', 2)`)
			f := newFeed(t, url)
			write(f,
				tx(readRow(o, "1", "read", "10"), readRow(o, "3", "read", "3"), end(o), end(gone), end(nil)),
				tx(upd(o, "3", "~", "33"), del(o, "2"), readRow(o, "2", "read", "∅"), readRow(o, "3", "again", "∅"), upd(o, "3", "~", "34")),
				tx(ins(o, "4", "new", "4"), readRow(o, "4", "read", "5"), readRow(o, "5", "read", "5"), del(o, "5")),
			)
			wantRows(t, url, `SELECT * FROM orders ORDER BY id`, "1|read|10\n2|read|"+pgtest.Null+"\n3|again|34\n4|read|5")
			counts := f.w.Counts()
			if counts["read"] != 6 || counts["inserted"] != 1 || counts["updated"] != 2 || counts["missing"] != 0 {
				t.Errorf("%s: %v", name, counts)
			}
		}
		f := newFeed(t, url)
		f.bulk(tx(readRow(o, "6", "a", "1"), readRow(o, "7", "a", "1")), tx(end(o)))
		f.bulk(tx(readRow(o, "6", "b", "1"), readRow(o, "7", "b", "1"), readRow(o, "8", "b", "1")))
		wantRows(t, url, `SELECT note, count(*) FROM orders WHERE id > 5 GROUP BY note`, "b|3")
	})
}
