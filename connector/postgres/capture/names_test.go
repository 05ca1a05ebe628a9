package capture

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// renamedSchema is a script after which rows of two tables that were both a.u
// follow each other.
var renamedSchema = []string{
	"INSERT INTO a.u VALUES (1, 'old')",
	"INSERT INTO a.m VALUES (1)",
	"BEGIN; ALTER SCHEMA a RENAME TO b; CREATE SCHEMA a; CREATE TABLE a.u (id int PRIMARY KEY, w text);" +
		"INSERT INTO a.u VALUES (2, 'new'); INSERT INTO b.u VALUES (2, 'old'); COMMIT",
	"INSERT INTO b.m VALUES (2)",
	"INSERT INTO a.u VALUES (3, 'new'); INSERT INTO b.u VALUES (3, 'old')",
}

// captureThrough is captureNow that begins a new session whenever one ends by a
// retryable error, as the engine does.
func captureThrough(t *testing.T, src *Source, from entrain.Position) (all []string, sessions int) {
	t.Helper()
	bounded, err := src.Until("now")
	if err != nil {
		t.Fatal(err)
	}
	for sessions < 10 {
		sessions++
		r := openReader(t, bounded, from)
		got := &captured{}
		err := readAll(t, r, got)
		closeReader(t, r)
		if n := len(got.before); n > 0 {
			from = got.positions[n-1]
			all = append(all, got.lines[:got.before[n-1]]...)
		}
		switch {
		case err == nil:
			return all, sessions
		case !entrain.IsRetryable(err):
			t.Fatalf("session %d: %v", sessions, err)
		}
	}
	t.Fatalf("%d sessions came to no end", sessions)
	return nil, 0
}

// TestSchemaRenamed: PG-15, P1. Before version 18 the log does not tell that a
// schema was renamed. Rows of its tables are never taken for those of a
// successor of the old name: a new session learns the new name.
func TestSchemaRenamed(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE SCHEMA a", "CREATE TABLE a.u (id int PRIMARY KEY, v text)", "CREATE TABLE a.m (id int PRIMARY KEY)",
			"CREATE PUBLICATION pub FOR ALL TABLES")
		src := newTestSource(t, url)
		from := createSlot(t, src)
		pgtest.Exec(t, url, renamedSchema...)
		lines, sessions := captureThrough(t, src, from)
		var got []string
		for _, line := range lines {
			_, rest, _ := strings.Cut(line, `"schema":`)
			schema, _, _ := strings.Cut(rest, ",")
			_, after, _ := strings.Cut(line, `"after":`)
			after, _, _ = strings.Cut(after, "}")
			got = append(got, schema+after)
		}
		want := `"a"{"id":1,"v":"old" "a"{"id":1 "a"{"id":2,"w":"new" "b"{"id":2,"v":"old" "b"{"id":2 "a"{"id":3,"w":"new" "b"{"id":3,"v":"old"`
		if joined := strings.Join(got, " "); joined != want {
			t.Errorf("in %d sessions captured\n%s, want\n%s", sessions, joined, want)
		}
	})
}

// TestStopTableNameTaken: where the log names two tables alike inside one
// transaction, no session can tell them apart (P1).
func TestStopTableNameTaken(t *testing.T) {
	a := testAssembler(0)
	const successor = tOrders + 100
	steps := []wire{
		beginMsg(800, 1), ordersRel(), insertMsg(tOrders, "1", "a", "b"),
		relMsg(successor, "orders", 'd', wireCol{"*id", 23}), insertMsg(successor, "1"),
	}
	for _, m := range steps {
		if err := a.add(m); err != nil {
			t.Fatal(err)
		}
	}
	stop := expectStop(t, a.add(insertMsg(tOrders, "2", "a", "b")), "table_name_taken")
	if !strings.Contains(stop.What, "public.orders") {
		t.Errorf("stop %+v", stop)
	}
	if err := a.add(ordersRel()); err != nil {
		t.Fatal(err)
	}
	if err := a.add(insertMsg(tOrders, "2", "a", "b")); err != nil {
		t.Errorf("a row of a table that was described again: %v", err)
	}
}
