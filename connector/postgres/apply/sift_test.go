package apply

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// try offers transactions, and returns what is refused of them.
func (f *feed) try(b *entrain.Batch, from, to int) []entrain.FailedEvent {
	f.t.Helper()
	part := *b
	part.Events = b.Events[from:to]
	err := f.w.Try(f.t.Context(), &part)
	var refused *entrain.BatchError
	if err != nil && !errors.As(err, &refused) {
		f.t.Fatal(err)
	}
	if err == nil {
		return nil
	}
	return refused.Failed
}

// TestSinkSifts proves P1 and P4: a session that has refused a batch goes on, takes what is
// left of it step by step, and nothing of that is seen before it is durable, whatever
// the row was refused for.
func TestSinkSifts(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		for i := range badCases {
			for _, around := range []int{3, 100} {
				pgtest.Exec(t, url, `DROP TABLE IF EXISTS orders, parent`, badSchema)
				if sql := badExtra[badCases[i].name]; sql != "" {
					pgtest.Exec(t, url, sql)
				}
				checkSifts(t, url, i, around)
			}
		}
	})
}

func checkSifts(t *testing.T, url string, number, around int) {
	c := badCases[number]
	o := describe(t, url, "public", "orders")
	f := newFeed(t, url)
	defer func() { f.w.Close() }()
	start := f.w.pos
	f.seq = f.w.seen + 10
	bad := fmt.Sprintf("source/i1/%d/0", int(f.seq)+around+1)
	b := f.batch(append(append(many(o, 1000, around), tx(c.bad(o))), many(o, 2000, around)...)...)
	wantRefused(t, f.w.Write(t.Context(), b), bad)
	if err := f.w.Write(t.Context(), b); err == nil {
		t.Fatalf("%s: a refused batch was written before it was rolled back", c.name)
	}
	if err := f.w.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if failed := f.try(b, 0, len(b.Events)); len(failed) > 0 && failed[0].ID != bad {
		t.Errorf("%s: the server's hint leads to %s, not %s", c.name, failed[0].ID, bad)
	}
	if failed := f.try(b, 0, around); failed != nil {
		t.Fatalf("%s: refused without the bad row: %v", c.name, failed)
	}
	if failed := f.try(b, around, around+1); len(failed) != 1 || failed[0].ID != bad {
		t.Fatalf("%s: %v, want %s", c.name, failed, bad)
	}
	f.w.forgetTables() // as after a minute: they are learnt anew where something was refused
	if failed := f.try(b, around+1, len(b.Events)); failed != nil {
		t.Fatalf("%s: refused behind the bad row: %v", c.name, failed)
	}
	wantRows(t, url, `SELECT * FROM orders`, "1|one|1")
	if err := f.w.Write(t.Context(), &entrain.Batch{Through: b.Through}); err != nil {
		t.Fatal(err)
	}
	wantRows(t, url, `SELECT count(*), count(*) FILTER (WHERE id = 1 AND note = 'one') FROM orders`, fmt.Sprintf("%d|1", 2*around+1))
	if got := f.w.Counts()["inserted"]; got != int64(2*around) {
		t.Errorf("%s: %d inserts counted of %d", c.name, got, 2*around)
	}
	f.write(tx(ins(o, "9000", "next", "1")))
	if pos := f.open(); pos == start || pos != position(f.seq) || f.w.seen != f.seq {
		t.Errorf("%s: position %v, version %d, want %v", c.name, pos, f.w.seen, position(f.seq))
	}
	wantRows(t, url, `SELECT count(*) FROM orders WHERE id = 9000`, "1")
}

// TestSinkFindsByHalves: to find the one bad row of many transactions does not take a
// round trip for each.
func TestSinkFindsByHalves(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, badSchema)
		o := describe(t, url, "public", "orders")
		f := newFeed(t, url)
		events := many(o, 1000, 500)
		events = append(events, tx(upd(o, "1", "x", "-1")))
		steps := slices.Concat(events, many(o, 3000, 20))
		b := f.batch(steps...)
		before := savepoints(t, url)
		wantRefused(t, f.w.Write(t.Context(), b), "source/i1/501/0")
		if n := savepoints(t, url) - before; n > 60 {
			t.Errorf("it took %d transactions at the server", n)
		}
	})
}

// savepoints is how far the server's transaction numbers are: each subtransaction that
// writes takes one.
func savepoints(t *testing.T, url string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(pgtest.QueryOne(t, url, `SELECT pg_current_xact_id()::text`), &n); err != nil {
		t.Fatal(err)
	}
	return n
}
