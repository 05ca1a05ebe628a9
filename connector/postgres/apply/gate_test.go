package apply

import (
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const gateSQL = `CREATE TABLE g (id int4 PRIMARY KEY, a text, b text)`

// TestGateLateChanges: each kind of change that comes late is applied if it is newer
// than its row, noted once if it is older, and nothing if it was applied.
func TestGateLateChanges(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL)
		g := describe(t, url, "public", "g")
		f := newGateFeed(t, url, Config{})
		f.send(at(10, 0, ins(g, "1", "a10", "b")), at(10, 1, ins(g, "2", "a10", "b")), at(20, 0, upd(g, "1", "a20", "b")), at(20, 1, del(g, "2")))
		f.send(at(90, 0, ins(g, "9", "mark", "b")))
		wantCounts(t, f.w, map[string]int64{"inserted": 3, "updated": 1, "deleted": 1, "late": 0, "queued": 0})

		f.send(at(10, 0, ins(g, "1", "a10", "b")), at(10, 1, ins(g, "2", "a10", "b")), at(20, 0, upd(g, "1", "a20", "b")), at(20, 1, del(g, "2")))
		wantRows(t, url, `SELECT * FROM g ORDER BY id`, "1|a20|b\n9|mark|b")
		wantQueue(t, url, "10.0 insert 1 stale 20.0\n10.1 insert 2 stale 20.1")
		wantCounts(t, f.w, map[string]int64{"inserted": 3, "updated": 1, "deleted": 1, "late": 4, "queued": 2})

		f.send(at(30, 0, upd(g, "1", "a30", "∅")), at(30, 1, upd(g, "3", "a30", "late")), at(31, 0, del(g, "4")), at(30, 2, ins(g, "4", "x", "y")))
		wantRows(t, url, `SELECT id, a, coalesce(b, '-') FROM g ORDER BY id`, "1|a30|-\n3|a30|late\n9|mark|b")
		wantQueue(t, url, "10.0 insert 1 stale 20.0\n10.1 insert 2 stale 20.1\n30.2 insert 4 stale 31.0")
		wantRows(t, url, `SELECT pipeline, table_name, id, body->'after'->>'a' FROM entrain.reconciliation WHERE key = '4'`, "test|public.g|source/i1/30/2|x")
	})
}

// TestGatePartialRows: a change that leaves columns out is never stored for a row that
// lacks, and what comes behind one too late says that it may be nowhere.
func TestGatePartialRows(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL)
		g := describe(t, url, "public", "g")
		f := newGateFeed(t, url, Config{})
		f.send(at(10, 0, ins(g, "1", "a10", "b10")), at(50, 0, upd(g, "1", "a50", "~")))
		f.send(at(40, 0, upd(g, "1", "a40", "b40")))
		wantRows(t, url, `SELECT * FROM g`, "1|a50|b10")
		wantQueue(t, url, "40.0 update 1 partial 50.0")

		// In order, but without its row; then late.
		f.send(at(60, 0, upd(g, "2", "a60", "~")), at(61, 0, upd(g, "1", "a61", "b61")))
		f.send(at(55, 0, upd(g, "3", "a55", "~")), at(55, 1, rekey(g, "1", "4", "a55", "~")))
		wantRows(t, url, `SELECT * FROM g`, "1|a61|b61")
		wantQueue(t, url, "40.0 update 1 partial 50.0\n55.0 update 3 missing 0.0\n55.1 update 4 partial 0.0\n60.0 update 2 missing 0.0")
		// The row comes later: what is in the queue is what lacks.
		f.send(at(54, 0, ins(g, "2", "a54", "b54")))
		wantRows(t, url, `SELECT * FROM g ORDER BY id`, "1|a61|b61\n2|a54|b54")

		// The old image has what the new one leaves out.
		all := *g
		all.FullIdentity = true
		f.send(at(56, 0, full(upd(&all, "2", "a56", "~"), "2", "a54", "b56")), at(57, 0, full(rekey(&all, "2", "5", "a57", "~"), "2", "a56", "b56")))
		wantRows(t, url, `SELECT * FROM g ORDER BY id`, "1|a61|b61\n5|a57|b56")
	})
}

// TestGateTruncateAndKeys: truncates and changes of keys, late ones too.
func TestGateTruncateAndKeys(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL)
		g := describe(t, url, "public", "g")
		f := newGateFeed(t, url, Config{})
		f.send(at(10, 0, ins(g, "1", "a", "b")), at(11, 0, rekey(g, "1", "2", "a11", "b")), at(12, 0, truncate(g)), at(13, 0, ins(g, "3", "a", "b")))
		wantRows(t, url, `SELECT * FROM g`, "3|a|b")
		wantRows(t, url, `SELECT key, version, state FROM entrain.row_version WHERE version > 12`, "3|13|w")
		// All once more: the truncate is known, what was before it is stale.
		f.send(at(10, 0, ins(g, "1", "a", "b")), at(11, 0, rekey(g, "1", "2", "a11", "b")), at(12, 0, truncate(g)), at(13, 0, ins(g, "3", "a", "b")))
		wantRows(t, url, `SELECT * FROM g`, "3|a|b")
		wantQueue(t, url, "10.0 insert 1 stale 12.0\n11.0 update 1 stale 12.0\n11.0 update 2 stale 12.0")

		f.send(at(50, 0, ins(g, "5", "a", "b")))
		f.send(at(40, 0, truncate(g))) // row 5 is newer
		f.send(at(41, 0, rekey(g, "3", "4", "moved", "b")))
		wantRows(t, url, `SELECT * FROM g ORDER BY id`, "4|moved|b\n5|a|b")
		wantRows(t, url, `SELECT op, key, reason FROM entrain.reconciliation WHERE version >= 40`, "truncate|public.g|stale")
		f.send(at(60, 0, del(g, "5")), at(61, 0, del(g, "4")))
		f.send(at(55, 0, truncate(g))) // nothing is newer but deletes
		f.send(at(54, 0, ins(g, "7", "a", "b")), at(56, 0, ins(g, "8", "a", "b")))
		wantRows(t, url, `SELECT * FROM g`, "8|a|b")
	})
}

// TestGateTurnedOn: rows that are there when the gate is turned on are as new as what
// was applied before; a table that is made anew is as new as the mark.
func TestGateTurnedOn(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL)
		g := describe(t, url, "public", "g")
		plain := newFeed(t, url)
		plain.seq = 6
		plain.write(tx(ins(g, "1", "a7", "b")))
		plain.w.Close()
		f := newGateFeed(t, url, Config{})
		f.seq = 7
		f.send(at(8, 0, ins(g, "2", "a8", "b")))
		f.send(at(6, 0, upd(g, "1", "old", "b")), at(7, 0, upd(g, "1", "a7", "b")))
		wantRows(t, url, `SELECT * FROM g ORDER BY id`, "1|a7|b\n2|a8|b")
		f.send(at(9, 0, upd(g, "1", "a9", "b")))
		pgtest.Exec(t, url, `CREATE TABLE h (LIKE g INCLUDING ALL); INSERT INTO h SELECT * FROM g; DROP TABLE g; ALTER TABLE h RENAME TO g`)
		f.reopen()
		f.send(at(8, 5, upd(g, "2", "old", "b")), at(10, 0, upd(g, "2", "a10", "b")))
		wantRows(t, url, `SELECT * FROM g ORDER BY id`, "1|a9|b\n2|a10|b")
	})
}

// TestGateIncarnations: versions of one incarnation say nothing about those of another;
// the later one counts. A dead letter of one that was never met is older than all.
func TestGateIncarnations(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL)
		g := describe(t, url, "public", "g")
		f := newGateFeed(t, url, Config{})
		f.send(at(900, 0, ins(g, "1", "first", "b")))
		f.send(from("i2", 5, 0, upd(g, "1", "second", "b")))
		f.send(at(950, 0, upd(g, "1", "first again", "b")))
		f.resend(from("i0", 999, 0, upd(g, "1", "unknown", "b")))
		wantRows(t, url, `SELECT * FROM g`, "1|second|b")
		wantRows(t, url, `SELECT era, version, row_era, row_version, reason FROM entrain.reconciliation ORDER BY 1`, "0|999|2|5|stale\n1|950|2|5|stale")
		f.reopen()
		f.send(from("i2", 6, 0, upd(g, "1", "third", "b")))
		wantRows(t, url, `SELECT * FROM g`, "1|third|b")
	})
}

// TestGateRefusedTables: tables whose rows the gate cannot tell apart, and one that
// another pipeline's gate has.
func TestGateRefusedTables(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL+`; CREATE TABLE n (id numeric PRIMARY KEY); CREATE TABLE k (v text);
			CREATE TABLE d (id int4 PRIMARY KEY DEFERRABLE)`)
		for name, event := range map[string]func(*entrain.Table) entrain.Event{
			"n": func(x *entrain.Table) entrain.Event { return ins(x, "1") },
			"k": func(x *entrain.Table) entrain.Event { return ins(keyless(x), "1") },
			"d": func(x *entrain.Table) entrain.Event { return ins(x, "1") },
		} {
			f := newGateFeed(t, url, Config{Pipeline: "of_" + name})
			wantStop(t, f.sendErr(at(1, 0, event(describe(t, url, "public", name)))), "gate_key")
		}
		g := describe(t, url, "public", "g")
		newGateFeed(t, url, Config{Pipeline: "one:s"}).send(at(1, 0, ins(g, "1", "a", "b")))
		f := newGateFeed(t, url, Config{Pipeline: "two"})
		wantStop(t, f.sendErr(at(1, 0, upd(g, "1", "x", "y"))), "gate_shared")
		newGateFeed(t, url, Config{Pipeline: "one:s:3"}).send(at(2, 0, upd(g, "1", "part of it", "b")))
		wantRows(t, url, `SELECT * FROM g`, "1|part of it|b")
	})
}
