package apply

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestGateSweeps: tombstones go when they are old enough and all deliveries have passed
// them, not while dead letters are kept; what is older than them stays stale.
func TestGateSweeps(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL)
		g := describe(t, url, "public", "g")
		f := newGateFeed(t, url, Config{Pipeline: "p:s:1"})
		other := newGateFeed(t, url, Config{Pipeline: "p:s:2"})
		now := time.Unix(1_000_000, 0)
		f.w.gate.sweeper.now = func() time.Time { return now }
		version := uint64(100)
		batches := func(n int) {
			for range n {
				version++
				f.send(at(version, 0, ins(g, strconv.FormatUint(version, 10), "a", "b")))
			}
		}
		tombstones := func(want string) {
			t.Helper()
			wantRows(t, url, `SELECT count(*) FROM entrain.row_version WHERE state = 'd'`, want)
		}
		other.send(at(50, 0, ins(g, "7", "a", "b")))
		f.send(at(90, 0, ins(g, "1", "a", "b")), at(91, 0, ins(g, "2", "a", "b")), at(92, 0, del(g, "1")), at(93, 0, del(g, "2")))
		batches(2 * sweepEvery)
		tombstones("2") // too young
		now = now.Add(keepTombstones)
		batches(1)
		now = now.Add(keepTombstones)
		batches(sweepEvery)
		tombstones("2") // the other delivery is not there yet
		other.send(at(93, 0, ins(g, "8", "a", "b")))
		if err := f.sink().KeepLetters(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, url, `INSERT INTO entrain.dead_letter VALUES ('p:s:2', 'x', '', '', '', '', '', 1, now(), now(), '{}')`)
		batches(sweepEvery)
		tombstones("2") // a letter may come
		pgtest.Exec(t, url, `DELETE FROM entrain.dead_letter`)
		batches(sweepEvery)
		tombstones("1") // 93 is not passed by the other
		other.send(at(91, 7, ins(g, "1", "stale", "b")), at(92, 5, ins(g, "1", "newer", "b")))
		wantRows(t, url, `SELECT a FROM g WHERE id = 1`, "newer")
		wantRows(t, url, `SELECT version, row_version, reason FROM entrain.reconciliation`, "91|92|stale")
	})
}

// TestGateJournal: versions wait in the journal while batches are large and are taken over
// when they are small or too many wait, or something late comes, the newest of each row.
func TestGateJournal(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL)
		g := describe(t, url, "public", "g")
		f := newGateFeed(t, url, Config{})
		version := uint64(0)
		large := func() {
			var events []entrain.Event
			for i := range quietBatch + 1 {
				version++
				events = append(events, at(version, 0, ins(g, strconv.Itoa(i), "a", "b")))
			}
			f.send(events...)
		}
		wait := func(journal, versions string) {
			t.Helper()
			wantRows(t, url, `SELECT (SELECT count(*) FROM entrain.row_journal), count(*), coalesce(min(version), 0) FROM entrain.row_version`, journal+"|"+versions)
		}
		large()
		large()
		wait("130", "0|0")
		f.reopen() // knows what waits
		version++
		f.send(at(version, 0, upd(g, "0", "z", "b")))
		wait("0", "65|67")
		large()
		wait("65", "65|67")
		f.w.gate.bound = 100
		large()
		wait("0", "65|197")
		large()
		f.send(at(version-1, 0, upd(g, "64", "late", "b")))
		wait("0", "65|262")
		wantQueue(t, url, "325.0 update 64 stale 326.0")
	})
}

// TestGateTeardown: what the gate keeps is named and removed, with its tables.
func TestGateTeardown(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL+`; CREATE TABLE o (id int4 PRIMARY KEY)`)
		f := newGateFeed(t, url, Config{})
		f.send(at(10, 0, ins(describe(t, url, "public", "g"), "1", "a", "b")), at(9, 0, upd(describe(t, url, "public", "g"), "1", "z", "b")))
		other := newGateFeed(t, url, Config{Pipeline: "other"})
		other.send(at(1, 0, ins(describe(t, url, "public", "o"), "1")))
		removals, err := f.sink().Teardown(t.Context())
		if err != nil || len(removals) != 2 || !strings.Contains(removals[1].What, "rows of 1 tables") ||
			!strings.Contains(removals[1].What, "1 changes in entrain.reconciliation") {
			t.Fatalf("%v: %+v", err, removals)
		}
		pgtest.Exec(t, url, removals[1].SQL)
		for _, r := range removals {
			if err := r.Do(t.Context()); err != nil {
				t.Errorf("%s: %v", r.What, err)
			}
		}
		wantRows(t, url, `SELECT count(*), (SELECT count(*) FROM entrain.reconciliation), (SELECT count(DISTINCT pipeline) FROM entrain.gate) FROM entrain.row_version`, "1|0|1")
		if removals, err = other.sink().Teardown(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, r := range removals {
			if err := r.Do(t.Context()); err != nil {
				t.Errorf("%s: %v", r.What, err)
			}
		}
		wantRows(t, url, `SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain'`, "0")
	})
}

// TestGateRights: a role that may not make the gate's tables is told the SQL that does,
// and one that lacks a right on them gets that.
func TestGateRights(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		newFeed(t, url)
		pgtest.Exec(t, url, gateSQL, `CREATE ROLE `+role+` LOGIN; GRANT USAGE ON SCHEMA entrain TO `+role+`;
			GRANT SELECT, INSERT, UPDATE, DELETE ON entrain.position, g TO `+role)
		limited := strings.Replace(url, "postgres@", role+"@", 1)
		s, err := NewSink(Config{URL: connector.Secret(pgtest.TargetURL(limited)), Pipeline: "test", VersionGate: true})
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		_, err = w.(*writer).Position(t.Context())
		pgtest.Exec(t, url, wantStop(t, err, "gate_table").Next)
		f := newGateFeed(t, limited, Config{})
		f.send(at(5, 0, ins(describe(t, url, "public", "g"), "1", "a", "b")))
		pgtest.Exec(t, url, `REVOKE INSERT ON entrain.reconciliation FROM `+role)
		stop := wantStop(t, f.sendErr(at(4, 0, ins(describe(t, url, "public", "g"), "1", "x", "b"))), "no_privilege")
		pgtest.Exec(t, url, stop.Next)
		f.reopen()
		f.send(at(4, 0, ins(describe(t, url, "public", "g"), "1", "x", "b")))
		wantRows(t, url, `SELECT a FROM g`, "a")
	})
}

// TestGateRefusesRows: a late change that the target refuses is a stop about that event.
func TestGateRefusesRows(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL+`; ALTER TABLE g ADD CHECK (a <> 'bad')`)
		g := describe(t, url, "public", "g")
		f := newGateFeed(t, url, Config{})
		f.send(at(10, 0, ins(g, "1", "a", "b")))
		stop := wantStop(t, f.sendErr(at(8, 0, ins(g, "2", "good", "b")), at(9, 0, ins(g, "3", "bad", "b"))), "row_refused")
		if !stop.Data || !strings.Contains(stop.What, "source/i1/9/0") {
			t.Errorf("the event is not named: %v", stop)
		}
		f.reopen()
		wantRows(t, url, `SELECT id FROM g`, "1")
		f.send(at(8, 0, ins(g, "2", "good", "b")))
		wantRows(t, url, `SELECT id FROM g ORDER BY id`, "1\n2")
	})
}

// TestGateCopiedTables: while rows of a table are copied its changes have no versions;
// what comes once more is as old as all of it.
func TestGateCopiedTables(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL)
		g := describe(t, url, "public", "g")
		f := newGateFeed(t, url, Config{})
		settling := at(10, 0, upd(g, "1", "a10", "b")) // not there yet: nothing
		settling.Settling = true
		row := at(3, 0, ins(g, "1", "a10", "b"))
		row.Op, row.Settling = entrain.OpRead, true
		f.send(settling)
		f.send(row)
		f.send(at(10, 0, upd(g, "1", "again", "b")), at(9, 0, ins(g, "1", "stale", "b")), at(11, 0, upd(g, "1", "a11", "b")))
		wantRows(t, url, `SELECT * FROM g`, "1|a11|b")
		wantQueue(t, url, "9.0 insert 1 stale 10.0")
	})
}
