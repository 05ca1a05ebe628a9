package apply

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func settling(e entrain.Event) entrain.Event {
	e.Settling = true
	return e
}

func settlingAll(events ...entrain.Event) []entrain.Event {
	for i := range events {
		events[i].Settling = true
	}
	return events
}

// bothPaths are the ways in which a batch is applied.
var bothPaths = map[string]func(*feed, ...[]entrain.Event){"tip": (*feed).write, "bulk": (*feed).bulk}

// TestSinkSettles proves P3 for rows that are copied while the stream flows: what
// is there is replaced, what is not there is not missed, and a key change comes
// out right whatever of it is there.
func TestSinkSettles(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `ALTER TABLE orders ADD COLUMN here text DEFAULT 'new'`)
		o := describe(t, url, "public", "orders")
		o.Columns = o.Columns[:3]
		o.Version = o.Fingerprint()
		for name, write := range bothPaths {
			pgtest.Exec(t, url, `TRUNCATE orders; INSERT INTO orders SELECT i, 'old', i, 'kept' FROM generate_series(1, 9) i`)
			f := newFeed(t, url)
			write(f,
				settlingAll(ins(o, "1", "a", "10"), ins(o, "20", "b", "20"), ins(o, "20", "c", "21"), upd(o, "20", "~", "22")),
				settlingAll(upd(o, "98", "x", "~"), del(o, "97"), del(o, "2"), ins(o, "2", "d", "∅"), upd(o, "3", "e", "~"), ins(o, "3", "f", "3")),
				settlingAll(rekey(o, "4", "40", "whole", "4"), rekey(o, "5", "50", "~", "5"), // the old row only
					rekey(o, "60", "61", "whole", "6"), rekey(o, "70", "71", "~", "7"), // neither
					rekey(o, "6", "7", "whole", "∅"), rekey(o, "8", "9", "~", "99"), // both
					rekey(o, "80", "1", "whole", "1"), rekey(o, "81", "3", "~", "33")), // the new one only
			)
			wantRows(t, url, `SELECT * FROM orders ORDER BY id`, strings.ReplaceAll(`1|whole|1|kept
2|d|∅|new
3|f|33|kept
7|whole|∅|kept
9|old|99|kept
20|c|22|new
40|whole|4|kept
50|old|5|kept
61|whole|6|new`, "∅", pgtest.Null))
			counts := f.w.Counts()
			if counts["missing"] != 0 || counts["stepdowns"] != 0 {
				t.Errorf("%s: %v", name, counts)
			}
			write(f, tx(upd(o, "96", "x", "~")))
			if got := f.w.Counts()["missing"]; got != 1 {
				t.Errorf("%s: missing = %d, want that of the event that does not settle", name, got)
			}
		}
	})
}

// TestSinkSettlesSets proves P3 for sets: new rows, rows that are there, half of
// each, a key twice, and values of no binary form.
func TestSinkSettlesSets(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE DOMAIN short AS varchar(20); CREATE TABLE o (id int8 PRIMARY KEY, note short NOT NULL, n numeric(10,2),
			tags text[], twice int8 GENERATED ALWAYS AS (id * 2) STORED)`)
		o := describe(t, url, "public", "o")
		const n = 1000
		set := func(op entrain.Op, round int) []entrain.Event {
			var events []entrain.Event
			for i := range n {
				e := ins(o, fmt.Sprint(i+1), fmt.Sprint("new ", i, " ", round), "2.25", `{a,NULL,"b c"}`)
				e.Op, e.Settling = op, op == entrain.OpInsert
				events = append(events, e)
			}
			return append(events, events[3])
		}
		for _, there := range []int{0, n / 2, n} {
			for _, op := range []entrain.Op{entrain.OpRead, entrain.OpInsert} {
				pgtest.Exec(t, url, fmt.Sprintf(`TRUNCATE o; INSERT INTO o SELECT i, 'old', 1.5, '{old}' FROM generate_series(%d, %d) i`, n-there+1, n))
				f := newFeed(t, url)
				for round := range 2 {
					f.bulk(set(op, round))
				}
				wantRows(t, url, `SELECT count(*), count(DISTINCT note), sum(twice), min(n), min(tags), sum((note = 'new ' || id - 1 || ' 1')::int) FROM o`,
					fmt.Sprintf(`%d|%d|%d|2.25|{a,NULL,"b c"}|%d`, n, n, n*(n+1), n))
				if got := f.w.Counts()["stepdowns"]; got != 0 {
					t.Errorf("%d there: %d step-downs", there, got)
				}
				f.w.Close()
			}
		}
		wantRows(t, url, `SELECT count(*) FROM pg_class WHERE relname = 'entrain_set'`, "0")
	})
}

// TestSinkSettlesIdentity proves P3 where keys are GENERATED ALWAYS, which no
// UPDATE can set, inside the key and outside, and for keys whose equality is not that of
// their text.
func TestSinkSettlesIdentity(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE k (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, here text DEFAULT 'new');
			CREATE TABLE v (id int8 PRIMARY KEY, seq int8 GENERATED ALWAYS AS IDENTITY, v text);
			CREATE TABLE e (id numeric PRIMARY KEY, v text)`)
		k, v, e := describe(t, url, "public", "k"), describe(t, url, "public", "v"), describe(t, url, "public", "e")
		k.Columns = k.Columns[:2]
		k.Version = k.Fingerprint()
		for name, write := range bothPaths {
			pgtest.Exec(t, url, `TRUNCATE k, v, e; INSERT INTO k OVERRIDING SYSTEM VALUE SELECT i, 'old', 'kept' FROM generate_series(1, 6) i;
				INSERT INTO v OVERRIDING SYSTEM VALUE SELECT i, i, 'old' FROM generate_series(1, 6) i; INSERT INTO e VALUES (1.0, 'old'), (2, 'old')`)
			f := newFeed(t, url)
			write(f, settlingAll(
				ins(k, "1", "a"), ins(k, "10", "b"), rekey(k, "2", "20", "c"), rekey(k, "3", "30", "~"), rekey(k, "90", "91", "d"),
				rekey(k, "92", "93", "~"), rekey(k, "4", "1", "e"), rekey(k, "5", "6", "~"),
				ins(v, "1", "1", "a"), upd(v, "2", "22", "b"), ins(v, "9", "99", "c"), rekey(v, "3", "30", "3", "d"), rekey(v, "70", "71", "7", "e"),
				rekey(e, "1.0", "1.00", "one"), rekey(e, "2", "3.0", "~"), ins(e, "3", "three")))
			wantRows(t, url, `SELECT * FROM k ORDER BY id`, "1|e|kept\n6|old|kept\n10|b|new\n20|c|kept\n30|old|kept\n91|d|new")
			wantRows(t, url, `SELECT * FROM v ORDER BY id`, "1|1|a\n2|22|b\n4|4|old\n5|5|old\n6|6|old\n9|99|c\n30|3|d\n71|7|e")
			wantRows(t, url, `SELECT * FROM e ORDER BY id`, "1.00|one\n3.0|three")
			if f.w.Counts()["missing"] != 0 {
				t.Errorf("%s: %v", name, f.w.Counts())
			}
		}
	})
}

// TestSinkSettlesByKey proves P5: a table that cannot replace rows by key is
// refused, with the SQL that mends it.
func TestSinkSettlesByKey(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE late (id int8 PRIMARY KEY DEFERRABLE, v text); CREATE TABLE bare (id int8, v text)`)
		for _, name := range []string{"late", "bare"} {
			tb := describe(t, url, "public", name)
			tb.Columns[0].Key = true
			tb.Version = tb.Fingerprint()
			f := newFeed(t, url)
			f.write(tx(ins(tb, "1", "a")))
			stop := wantStop(t, f.w.Write(t.Context(), f.batch(tx(settling(ins(tb, "1", "b"))))), "key_index_missing")
			pgtest.Exec(t, url, stop.Next)
			f = newFeed(t, url)
			f.write(tx(settling(ins(tb, "1", "b")), settling(ins(tb, "2", "c"))))
			wantRows(t, url, `SELECT string_agg(v, ' ' ORDER BY id) FROM `+name, "b c")
			if full := keyless(tb); name == "bare" {
				wantStop(t, f.w.Write(t.Context(), f.batch(tx(settling(ins(full, "1", "b"))))), "key_index_missing")
			}
		}
	})
}

const referencesSQL = `CREATE TABLE p (id int8 PRIMARY KEY); CREATE TABLE c (id int8 PRIMARY KEY, p int8 REFERENCES p %s, up int8 REFERENCES c %s)`

// TestSinkSettlesReferences proves P3: children whose parents are not copied yet
// come in, with no constraint off for what does not settle, nor when the batch is
// done.
func TestSinkSettlesReferences(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		if pgtest.TargetURL(url) != url {
			t.Skip("the role may not set session_replication_role")
		}
		for _, when := range []string{"", "DEFERRABLE INITIALLY DEFERRED"} {
			for name, write := range bothPaths {
				pgtest.Exec(t, url, `DROP TABLE IF EXISTS p, c, log`, fmt.Sprintf(referencesSQL, when, when), `CREATE TABLE log (id int8 PRIMARY KEY, p int8)`)
				p, c := describe(t, url, "public", "p"), describe(t, url, "public", "c")
				f := newFeed(t, url)
				var children []entrain.Event
				for i := range 300 {
					children = append(children, settling(ins(c, fmt.Sprint(i), fmt.Sprint(i%7), fmt.Sprint(i+1))))
				}
				write(f, children)
				write(f, settlingAll(ins(c, "300", "8", "∅"), upd(c, "5", "9", "~"), rekey(c, "6", "600", "10", "~"), readRow(c, "301", "9", "∅")))
				write(f, settlingAll(ins(p, "1")), tx(ins(p, "2")))
				wantRows(t, url, `SELECT count(*), sum(p) FROM c`, "302|922")
				err := f.w.Write(t.Context(), f.batch(tx(ins(c, "999", "99", "∅"))))
				if state := fmt.Sprint(err); !strings.Contains(state, "23503") {
					t.Errorf("%s %q: a row that does not settle has no parent: %v", name, when, err)
				}
				f.w.Close()
			}
		}
	})
}

// TestSinkSettlesReferencesStops proves P5: where references cannot go unchecked,
// the stop's SQL lets the rows in.
func TestSinkSettlesReferencesStops(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		pgtest.Exec(t, url, `CREATE ROLE `+role+` LOGIN; CREATE SCHEMA entrain AUTHORIZATION `+role, fmt.Sprintf(referencesSQL, "", ""),
			`CREATE TABLE fired (id int8 PRIMARY KEY, p int8 REFERENCES p);
			CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
			CREATE TRIGGER note BEFORE INSERT ON fired FOR EACH ROW EXECUTE FUNCTION note();
			GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON p, c, fired TO `+role)
		limited := strings.Replace(url, "postgres@", role+"@", 1)
		c, fired := describe(t, url, "public", "c"), describe(t, url, "public", "fired")
		row := tx(settling(ins(c, "1", "1", "∅")))
		f := newFeed(t, limited)
		stop := wantStop(t, f.w.Write(t.Context(), f.batch(row)), "reference_waits")
		grant := strings.HasPrefix(stop.Next, "GRANT SET ON PARAMETER")
		if grant != (pgtest.QueryOne(t, url, `SELECT current_setting('server_version_num')::int >= 150000`) == "t") {
			t.Errorf("next: %s", stop.Next)
		}
		pgtest.Exec(t, url, strings.Split(stop.Next, "\n")[0])
		f = newFeed(t, limited)
		f.write(row)
		row = tx(settling(ins(fired, "1", "1")))
		stop = wantStop(t, f.w.Write(t.Context(), f.batch(row)), "reference_waits")
		pgtest.Exec(t, url, stop.Next)
		f = newFeed(t, limited)
		f.write(row)
		wantRows(t, url, `SELECT count(*) FROM c, fired`, "1")
		if !strings.Contains(stop.Next, "\n-- once the rows are copied: ALTER TABLE public.fired ADD CONSTRAINT fired_p_fkey FOREIGN KEY") {
			t.Errorf("next: %s", stop.Next)
		}
		if grant {
			pgtest.Exec(t, url, `REVOKE SET ON PARAMETER session_replication_role FROM `+role)
		}
		pgtest.Exec(t, url, `REVOKE ALL ON p, c, fired FROM `+role)
	})
}

// TestSinkSettlesRights proves P5: a right that sets take is named, and given by
// the stop's SQL.
func TestSinkSettlesRights(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		pgtest.Exec(t, url, ordersSQL, `CREATE ROLE `+role+` LOGIN; CREATE SCHEMA entrain AUTHORIZATION `+role+`;
			GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON orders TO `+role+`; INSERT INTO orders VALUES (1, 'old', 1)`,
			`DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM public', current_database()); END $$`)
		limited := strings.Replace(url, "postgres@", role+"@", 1)
		o := describe(t, url, "public", "orders")
		var events []entrain.Event
		for i := range fewRows + 1 {
			events = append(events, settling(ins(o, fmt.Sprint(i), "new", "∅")))
		}
		f := newFeed(t, limited)
		stop := wantStop(t, f.bulkErr(t.Context(), events), "no_privilege")
		pgtest.Exec(t, url, stop.Next)
		f = newFeed(t, limited)
		f.bulk(events)
		wantRows(t, url, `SELECT count(*) FROM orders WHERE note = 'new'`, fmt.Sprint(fewRows+1))

		pgtest.Exec(t, url, `ALTER SCHEMA entrain OWNER TO CURRENT_USER; GRANT USAGE ON SCHEMA entrain TO `+role)
		d := doubleOf(o)
		stop = wantStop(t, f.w.Write(t.Context(), f.batch(tx(truncate(d)))), "no_privilege")
		if !strings.HasPrefix(stop.Next, "GRANT CREATE ON SCHEMA entrain TO ") {
			t.Errorf("next: %s", stop.Next)
		}
		pgtest.Exec(t, url, stop.Next)
		f = newFeed(t, limited)
		f.write(tx(truncate(d)), reads(d, 1, 2, "double", "1"), tx(readEnd(d)))
		wantRows(t, url, `SELECT note, count(*) FROM orders GROUP BY note`, "double|2")
	})
}

// TestSinkSetBack proves that a position which somebody sets back does no harm: what
// was applied before meets rows as they are later, and ends with them so; what is new is
// as strict as ever.
func TestSinkSetBack(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		history := [][]entrain.Event{
			tx(ins(o, "1", "a", "10"), ins(o, "2", "b", "20"), ins(o, "3", "c", "30")),
			tx(rekey(o, "1", "11", "~", "10")), tx(rekey(o, "2", "22", "x", "21")),
			tx(upd(o, "11", "later", "~")), tx(del(o, "3")), tx(upd(o, "22", "~", "23")),
		}
		const want = "11|later|10\n22|x|23"
		f := newFeed(t, url)
		f.write(history...)
		wantRows(t, url, "SELECT * FROM orders ORDER BY id", want)
		for back := range len(history) {
			pgtest.Exec(t, url, fmt.Sprintf("UPDATE entrain.position SET incarnation = '%s', position = '%s'",
				position(uint64(back)).Incarnation, position(uint64(back)).Offset))
			f.open()
			f.seq = uint64(back)
			for _, events := range history[back:] {
				f.write(events)
			}
			wantRows(t, url, "SELECT * FROM orders ORDER BY id", want)
		}
		f.write(tx(ins(o, "5", "d", "50")))
		if err := f.w.Write(t.Context(), f.batch(tx(rekey(o, "5", "11", "d", "50")))); err == nil {
			t.Error("a new key change took the place of another row")
		}
	})
}
