package apply

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// splits writes the transactions in several ways: each for itself, all in one
// batch by either path, and each transaction in fragments of one event.
func splits(t *testing.T, url string, work [][]entrain.Event, verify func(way string)) {
	t.Helper()
	ways := map[string]func(f *feed){
		"one by one": func(f *feed) {
			for _, events := range work {
				f.write(events)
			}
		},
		"one batch":      func(f *feed) { f.write(work...) },
		"one bulk batch": func(f *feed) { f.bulk(work...) },
		"fragments": func(f *feed) {
			for _, events := range work {
				f.seq++
				all := numbered(f.seq, 0, events)
				for i := range all {
					b := &entrain.Batch{Events: all[i : i+1]}
					if i == len(all)-1 {
						b.Through = position(f.seq)
					}
					if err := f.w.Write(t.Context(), b); err != nil {
						t.Fatal(err)
					}
				}
			}
		},
	}
	for name, way := range ways {
		f := newFeed(t, url)
		f.seq = 100
		way(f)
		f.w.Close()
		verify(name)
	}
}

// TestSinkUniqueSwap (CO-10) proves P1 and P3: two rows that swap a unique value,
// and a key that is deleted and inserted again, in any split.
func TestSinkUniqueSwap(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		for _, unique := range []string{"UNIQUE", "UNIQUE DEFERRABLE", "UNIQUE DEFERRABLE INITIALLY DEFERRED"} {
			reset := `DROP TABLE IF EXISTS seats; CREATE TABLE seats (id int8 PRIMARY KEY, who text ` + unique + `);
				INSERT INTO seats SELECT i, 'w' || i FROM generate_series(1, 30) i`
			pgtest.Exec(t, url, reset)
			s := describe(t, url, "public", "seats")
			var work [][]entrain.Event
			for i := 1; i < 30; i += 2 {
				a, b := fmt.Sprint(i), fmt.Sprint(i+1)
				work = append(work, tx(upd(s, a, "tmp"+a), upd(s, b, "w"+a), upd(s, a, "w"+b)))
			}
			work = append(work, tx(del(s, "1"), ins(s, "1", "new")), tx(del(s, "3"), del(s, "4"), ins(s, "4", "w4"), ins(s, "3", "w3")))
			splits(t, url, work, func(way string) {
				wantRows(t, url, `SELECT string_agg(id || who, ' ' ORDER BY id) FROM seats WHERE id < 9`, "1new 2w1 3w3 4w4 5w6 6w5 7w8 8w7")
				pgtest.Exec(t, url, reset)
			})
		}
	})
}

// TestSinkForeignKeys (CO-09) proves P1 and P3 with references of every kind
// between three tables, in any split: constraints and actions stay on.
func TestSinkForeignKeys(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		for _, action := range []string{"", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE CASCADE", "DEFERRABLE INITIALLY DEFERRED"} {
			reset := `DROP TABLE IF EXISTS a, b, c CASCADE;
				CREATE TABLE a (id int8 PRIMARY KEY, name text);
				CREATE TABLE b (id int8 PRIMARY KEY, a int8 REFERENCES a ` + action + `);
				CREATE TABLE c (id int8 PRIMARY KEY, b int8 REFERENCES b ` + action + `, a int8 REFERENCES a ` + action + `);
				INSERT INTO a SELECT i, 'a' FROM generate_series(1, 20) i;
				INSERT INTO b SELECT i, i FROM generate_series(1, 20) i;
				INSERT INTO c SELECT i, i, i FROM generate_series(1, 20) i`
			pgtest.Exec(t, url, reset)
			a, b, c := describe(t, url, "public", "a"), describe(t, url, "public", "b"), describe(t, url, "public", "c")
			var work [][]entrain.Event
			for i := range 10 {
				n, old := fmt.Sprint(100+i), fmt.Sprint(1+i)
				work = append(work,
					tx(ins(a, n, "new"), upd(b, fmt.Sprint(11+i), n), ins(b, n, n), ins(c, n, n, "∅")),
					tx(del(c, old), del(b, old), del(a, old), ins(a, old, "again"), upd(c, n, "~", old)))
			}
			splits(t, url, work, func(way string) {
				wantRows(t, url, `SELECT (SELECT count(*) FROM a) || ' ' || (SELECT count(*) FROM b) || ' ' || (SELECT count(*) FROM c)
					|| ' ' || (SELECT sum(a) FROM b) || ' ' || (SELECT sum(a) FROM c) || ' ' || (SELECT count(*) FROM a WHERE name = 'again')`,
					"30 20 20 2090 210 10")
				pgtest.Exec(t, url, reset)
			})
		}
	})
}

// TestSinkSelfReferenceAndCycle (CO-09) proves the same for a tree in one table and
// for two tables that refer to each other.
func TestSinkSelfReferenceAndCycle(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		for _, late := range []string{"", "DEFERRABLE INITIALLY IMMEDIATE"} {
			reset := `DROP TABLE IF EXISTS tree, man, wife CASCADE;
				CREATE TABLE tree (id int8 PRIMARY KEY, up int8 REFERENCES tree ` + late + `);
				CREATE TABLE man (id int8 PRIMARY KEY, wife int8);
				CREATE TABLE wife (id int8 PRIMARY KEY, man int8 REFERENCES man ` + late + `);
				ALTER TABLE man ADD FOREIGN KEY (wife) REFERENCES wife ` + late
			pgtest.Exec(t, url, reset)
			tree, man, wife := describe(t, url, "public", "tree"), describe(t, url, "public", "man"), describe(t, url, "public", "wife")
			var grow, cut, wed []entrain.Event
			for i := range 40 {
				up := fmt.Sprint(i)
				if i == 0 {
					up = "∅"
				}
				grow = append(grow, ins(tree, fmt.Sprint(i+1), up))
				cut = append(cut, del(tree, fmt.Sprint(40-i)))
				n := fmt.Sprint(i)
				wed = append(wed, ins(man, n, "∅"), ins(wife, n, n), upd(man, n, n))
			}
			work := [][]entrain.Event{grow, cut[:20], wed, tx(upd(tree, "20", "1"), upd(tree, "2", "20"), upd(tree, "20", "∅"))}
			splits(t, url, work, func(way string) {
				wantRows(t, url, `SELECT count(*) || ' ' || sum(up) || ' ' || (SELECT count(*) FROM man JOIN wife ON man.wife = wife.id AND wife.man = man.id) FROM tree`,
					"20 190 40")
				pgtest.Exec(t, url, reset)
			})
		}
	})
}

// TestSinkPartsOfOneTransaction proves P1 for a transaction that comes in
// parts, each with a copy of the Transaction: a reference that is checked at its
// end is not checked between them when the target takes smaller steps.
func TestSinkPartsOfOneTransaction(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE parent (id int8 PRIMARY KEY);
			CREATE TABLE child (id int8 PRIMARY KEY, parent int8 REFERENCES parent DEFERRABLE INITIALLY DEFERRED)`)
		parent, child := describe(t, url, "public", "parent"), describe(t, url, "public", "child")
		for name, parts := range map[string][]int{"one batch": {3}, "two batches": {2, 1}, "three batches": {1, 1, 1}} {
			pgtest.Exec(t, url, `TRUNCATE parent, child; INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1)`)
			var chunks [3][]entrain.Event
			for i := 1; i <= 20; i++ {
				id := fmt.Sprint(i)
				chunks[i%2] = append(chunks[i%2], ins(child, id, id))
				chunks[2] = append(chunks[2], ins(parent, id))
			}
			f := newFeed(t, url)
			f.seq++
			from, sent := 0, uint64(0)
			for i, n := range parts {
				b := &entrain.Batch{}
				for _, chunk := range chunks[from : from+n] {
					b.Events = append(b.Events, numbered(f.seq, sent, chunk)...)
					sent += uint64(len(chunk))
				}
				from += n
				if i == len(parts)-1 {
					b.Through = position(f.seq)
				}
				if err := f.w.Write(t.Context(), b); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			wantRows(t, url, `SELECT count(*) FROM child JOIN parent ON parent.id = child.parent`, "20")
			f.w.Close()
			pgtest.Exec(t, url, `DROP TABLE entrain.position`)
		}
	})
}

// TestSinkDeferredToTheEnd proves P4: what the source checked at its commit only is
// checked at ours, and a violation names the transaction.
func TestSinkDeferredToTheEnd(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		reset := `DROP TABLE IF EXISTS a, b; CREATE TABLE a (id int8 PRIMARY KEY);
			CREATE TABLE b (id int8 PRIMARY KEY, a int8 REFERENCES a DEFERRABLE)`
		pgtest.Exec(t, url, reset)
		a, b := describe(t, url, "public", "a"), describe(t, url, "public", "b")
		var events []entrain.Event
		for i := range 20 {
			events = append(events, ins(b, fmt.Sprint(i), fmt.Sprint(i)))
		}
		for i := range 20 {
			events = append(events, ins(a, fmt.Sprint(i)))
		}
		splits(t, url, [][]entrain.Event{events}, func(string) {
			wantRows(t, url, `SELECT count(*) FROM a JOIN b ON a.id = b.a`, "20")
			pgtest.Exec(t, url, reset)
		})
		f := newFeed(t, url)
		err := f.w.Write(t.Context(), f.batch(tx(ins(a, "1"), ins(b, "1", "1")), tx(ins(b, "2", "9"), ins(b, "3", "1")), tx(ins(a, "4"))))
		stop := wantStop(t, err, "transaction_refused")
		for _, word := range []string{"at commit LSN 0/", "the server names the key (", "constraint \"", "table \"public\".\""} {
			if !strings.Contains(stop.What, word) {
				t.Errorf("no %s in %s", word, stop.What)
			}
		}
		leadsOn(t, url, stop)
		if dial.SQLState(err) != stateForeignKey || !strings.Contains(stop.What, "source/i1/2/1") {
			t.Errorf("got %v", err)
		}
		wantRows(t, url, `SELECT count(*) FROM a`, "0")
	})
}

const auditSQL = `CREATE TABLE audit (n serial, what text);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO public.audit (what) VALUES (TG_OP || ' ' || TG_TABLE_NAME || ' ' || coalesce(NEW.id, OLD.id) || ' seats=' || (SELECT count(*) FROM public.seats));
	RETURN NULL; END $$`

// TestSinkTriggersSeeSourceOrder proves P3: with a trigger at the target, rows are
// applied one by one in source order, those of other tables too, and no
// operation is left out.
func TestSinkTriggersSeeSourceOrder(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		reset := `DROP TABLE IF EXISTS orders, seats, audit; DROP FUNCTION IF EXISTS note; ` + ordersSQL +
			`; CREATE TABLE seats (id int8 PRIMARY KEY, who text); ` + auditSQL +
			`; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO PUBLIC`
		trigger := `CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION note()`
		pgtest.Exec(t, url, reset, trigger)
		o, s := describe(t, url, "public", "orders"), describe(t, url, "public", "seats")
		var work [][]entrain.Event
		var want []string
		for i := range 15 {
			id := fmt.Sprint(i)
			work = append(work, tx(ins(o, id, "a", "1"), ins(s, id, "x"), upd(o, id, "b", "~"), del(o, id)))
			want = append(want, fmt.Sprintf("INSERT orders %d seats=%d", i, i), fmt.Sprintf("UPDATE orders %d seats=%d", i, i+1),
				fmt.Sprintf("DELETE orders %d seats=%d", i, i+1))
		}
		splits(t, url, work, func(way string) {
			wantRows(t, url, `SELECT what FROM audit ORDER BY n`, strings.Join(want, "\n"))
			pgtest.Exec(t, url, reset, trigger)
		})
		pgtest.Exec(t, url, `DROP TRIGGER note ON orders`)
		f := newFeed(t, url)
		f.bulk(tx(ins(o, "100", "a", "1")))
		pgtest.Exec(t, url, trigger)
		f.w.catalog.since = time.Now().Add(-2 * maxCatalogAge)
		f.bulk(work...)
		wantRows(t, url, `SELECT what FROM audit ORDER BY n`, strings.Join(want, "\n"))
	})
}

// TestSinkReferenceComesLater proves P1 and P9: a reference that the target gets while
// a session knows the tables without it, as those get that are copied, is kept in the
// order of what comes then.
func TestSinkReferenceComesLater(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `DROP TABLE IF EXISTS kids, folks; CREATE TABLE folks (id int8 PRIMARY KEY, who text); CREATE TABLE kids (id int8 PRIMARY KEY, parent int8)`)
		folks, kids := describe(t, url, "public", "folks"), describe(t, url, "public", "kids")
		f := newFeed(t, url)
		f.bulk(tx(ins(folks, "1", "a"), ins(kids, "1", "1")))
		pgtest.Exec(t, url, `ALTER TABLE kids ADD CONSTRAINT kids_parent FOREIGN KEY (parent) REFERENCES folks`)
		f.bulk(tx(ins(kids, "2", "1"), ins(folks, "3", "c"), ins(kids, "3", "3")))
		wantRows(t, url, `SELECT id, parent FROM kids ORDER BY id`, "1|1\n2|1\n3|3")
		read := f.w.catalog.since
		if err := f.bulkErr(t.Context(), tx(ins(kids, "4", "4"))); dial.SQLState(err) != stateForeignKey || f.w.catalog.since != read {
			t.Errorf("refused by what is known: %v, and the catalog was read at %s and %s", err, read, f.w.catalog.since)
		}
	})
}

// TestSinkGeneratedAndExtraColumns proves that the target's own columns keep what
// the target says: generated, with defaults, identity.
func TestSinkGeneratedAndExtraColumns(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		reset := `DROP TABLE IF EXISTS g; CREATE TABLE g (extra text DEFAULT 'd', id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			twice int8 GENERATED ALWAYS AS (id * 2) STORED, big text, seq int4 DEFAULT 7)`
		pgtest.Exec(t, url, reset)
		g := describe(t, url, "public", "g")
		g.Columns = []entrain.Column{g.Columns[1], g.Columns[2], {Name: "twice", Type: "int8", Modifier: -1}}
		work := [][]entrain.Event{tx(ins(g, "1", "toasted", "999"), ins(g, "2", "b", "999"))}
		for i := range 12 {
			work = append(work, tx(ins(g, fmt.Sprint(10+i), "x", "0")))
		}
		work = append(work, tx(upd(g, "2", "c", "0")), tx(rekey(g, "1", "5", "~", "0")), tx(del(g, "10")))
		splits(t, url, work, func(way string) {
			wantRows(t, url, `SELECT id, twice, big, extra, seq FROM g WHERE id < 12 ORDER BY id`, "2|4|c|d|7\n5|10|toasted|d|7\n11|22|x|d|7")
			pgtest.Exec(t, url, reset)
		})
	})
}

// TestSinkIdentityOutsideTheKey proves that a GENERATED ALWAYS column that is not
// the key follows the source all the same, unchanged columns included.
func TestSinkIdentityOutsideTheKey(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		reset := `DROP TABLE IF EXISTS g; CREATE TABLE g (id text PRIMARY KEY, n int8 GENERATED ALWAYS AS IDENTITY, big text, extra text DEFAULT 'd')`
		pgtest.Exec(t, url, reset)
		g := describe(t, url, "public", "g")
		g.Columns = g.Columns[:3]
		work := [][]entrain.Event{tx(ins(g, "a", "70", "toast"), ins(g, "b", "71", "x")),
			tx(upd(g, "a", "70", "new"), upd(g, "b", "90", "~")), tx(upd(g, "zz", "1", "~"))}
		splits(t, url, work, func(way string) {
			wantRows(t, url, `SELECT * FROM g ORDER BY id`, "a|70|new|d\nb|90|x|d")
			pgtest.Exec(t, url, reset)
		})
		pgtest.Exec(t, url, `DROP TABLE g; CREATE TABLE g (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int8, big text);
			CREATE TABLE child (id int8 REFERENCES g ON DELETE CASCADE); INSERT INTO g (n) VALUES (1); INSERT INTO child VALUES (1)`)
		f := newFeed(t, url)
		k := describe(t, url, "public", "g")
		stop := wantStop(t, f.w.Write(t.Context(), f.batch(tx(rekey(k, "1", "2", "1", "~")))), "identity_always")
		if !strings.Contains(stop.What, `row "id" = '1', at commit LSN 0/`) {
			t.Error(stop.What)
		}
		leadsOn(t, url, stop)
		wantRows(t, url, `SELECT * FROM child`, "1")
		pgtest.Exec(t, url, stop.Next, `ALTER TABLE child DROP CONSTRAINT child_id_fkey`)
		f.open()
		f.write(tx(rekey(k, "1", "2", "1", "~")))
		wantRows(t, url, `SELECT id FROM g`, "2")
	})
}

// TestSinkKeylessTables proves P1 and P3 without a key: one of several equal rows
// goes, whatever the types, NULLs and partitions.
func TestSinkKeylessTables(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		for _, partition := range []string{"", "PARTITION BY LIST (n)"} {
			reset := `DROP TABLE IF EXISTS k; CREATE TABLE k (doc json, n int4, x numeric, p point) ` + partition
			if partition != "" {
				reset += `; CREATE TABLE k1 PARTITION OF k FOR VALUES IN (1, 2); CREATE TABLE k2 PARTITION OF k DEFAULT`
			}
			pgtest.Exec(t, url, reset)
			k := keyless(describe(t, url, "public", "k"))
			row := []string{`{"a": 1}`, "1", "1.0", "(1,2)"}
			other := []string{`{"a":1}`, "∅", "1.00", "∅"}
			var work [][]entrain.Event
			for range 20 {
				work = append(work, tx(ins(k, row...), ins(k, other...)))
			}
			moved := upd(k, `{}`, "3", "~", "∅")
			work = append(work, tx(full(del(k), row...), full(moved, row...), full(del(k), other...), full(upd(k, "~", "~", "7", "~"), other...)))
			splits(t, url, work, func(way string) {
				wantRows(t, url, `SELECT doc::text, n, x, count(*) FROM k GROUP BY doc::text, n, x ORDER BY 4, 1`,
					"{\"a\":1}|"+pgtest.Null+"|7|1\n{}|3|1.0|1\n{\"a\": 1}|1|1.0|18\n{\"a\":1}|"+pgtest.Null+"|1.00|18")
				pgtest.Exec(t, url, reset)
			})
		}
	})
}

// TestSinkFullIdentityUsesThePrimaryKey proves that before images of all columns
// find rows by the target's key even when other columns have drifted.
func TestSinkFullIdentityUsesThePrimaryKey(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `INSERT INTO orders VALUES (1, 'drifted', 5), (2, 'drifted', 5)`)
		k := keyless(describe(t, url, "public", "orders"))
		f := newFeed(t, url)
		f.write(tx(full(upd(k, "1", "a", "2"), "1", "old", "1"), full(del(k), "2", "old", "1")))
		f.write(tx(full(upd(k, "9", "a", "3"), "1", "old", "1")))
		wantRows(t, url, `SELECT * FROM orders`, "9|a|3")
	})
}

// TestSinkEqualityOfKeys proves P3 for keys that are equal without being the same
// text: they are never taken for two rows.
func TestSinkEqualityOfKeys(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE SCHEMA x; CREATE EXTENSION citext SCHEMA x`)
		for typ, values := range map[string][2]string{"numeric": {"1.0", "1.00"}, "x.citext": {"Ab", "aB"}, "float8": {"0", "-0"},
			"interval": {"1 mon", "30 days"}, "jsonb": {"1", "1.0"}, "char(3)": {"a  ", "a"}, "timetz": {"10:00:00+00", "10:00:00+00"}} {
			reset := fmt.Sprintf(`DROP TABLE IF EXISTS k; CREATE TABLE k (id %s PRIMARY KEY, v text)`, typ)
			pgtest.Exec(t, url, reset)
			k := describe(t, url, "public", "k")
			a, b := values[0], values[1]
			work := [][]entrain.Event{tx(ins(k, a, "1")), tx(upd(k, b, "2")), tx(del(k, b)), tx(ins(k, b, "3")), tx(upd(k, a, "4"))}
			splits(t, url, work, func(way string) {
				wantRows(t, url, `SELECT v FROM k`, "4")
				pgtest.Exec(t, url, reset)
			})
		}
	})
}

// TestSinkTruncate (PG-07) proves P1: the event's tables are emptied in one
// operation and no others, whatever CASCADE did at the source; a reference in the
// way is a stop whose SQL works (P5).
func TestSinkTruncate(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE a (id serial PRIMARY KEY); CREATE TABLE b (a int4 REFERENCES a); CREATE TABLE heir () INHERITS (a);
			CREATE TABLE outside (a int4 REFERENCES a); CREATE TABLE p (id int4) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p DEFAULT`)
		fill := `INSERT INTO a DEFAULT VALUES; INSERT INTO b SELECT max(id) FROM ONLY a; INSERT INTO heir VALUES (77); INSERT INTO p VALUES (1)`
		outside := `INSERT INTO outside SELECT max(id) FROM ONLY a`
		a, b, p := describe(t, url, "public", "a"), describe(t, url, "public", "b"), keyless(describe(t, url, "public", "p"))
		counts := `SELECT (SELECT count(*) FROM ONLY a), (SELECT count(*) FROM b), (SELECT count(*) FROM heir), (SELECT count(*) FROM p)`
		pgtest.Exec(t, url, fill, outside)
		f := newFeed(t, url)
		cascade := truncate(a, b, p)
		cascade.Truncate.Cascade = true
		stop := wantStop(t, f.w.Write(t.Context(), f.batch(tx(cascade))), "truncate_referenced")
		if !strings.Contains(stop.What, "table public.outside refers to public.a") {
			t.Errorf("the stop does not name the tables: %s", stop.What)
		}
		wantRows(t, url, counts, "1|1|1|1")
		pgtest.Exec(t, url, stop.Next)
		f.open()
		f.write(tx(cascade))
		wantRows(t, url, counts, "0|0|1|0")
		wantRows(t, url, `SELECT count(*) FROM outside`, "1")
		pgtest.Exec(t, url, fill)
		plain := truncate(a, b, p)
		plain.Truncate.RestartIdentity = true
		pgtest.Exec(t, url, `ALTER TABLE a OWNER TO `+rowsOf(t, pgtest.TargetURL(url), `SELECT current_user`))
		f.write(tx(plain))
		pgtest.Exec(t, url, `INSERT INTO a DEFAULT VALUES`)
		wantRows(t, url, `SELECT id FROM ONLY a`, "1")
	})
}

// TestSinkRowSecurity proves P5: policies that would hide rows are a stop whose SQL
// works.
func TestSinkRowSecurity(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		pgtest.Exec(t, url, ordersSQL, `ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY large ON orders USING (n > 5)`,
			`CREATE ROLE `+role+` LOGIN; GRANT ALL ON orders TO `+role+`; GRANT CREATE ON DATABASE `+rowsOf(t, url, `SELECT current_database()`)+` TO `+role)
		o := describe(t, url, "public", "orders")
		f := newFeed(t, strings.Replace(url, "postgres@", role+"@", 1))
		stop := wantStop(t, f.w.Write(t.Context(), f.batch(tx(ins(o, "1", "a", "1")))), "row_security")
		pgtest.Exec(t, url, stop.Next)
		f.open()
		f.write(tx(ins(o, "1", "a", "1")))
		wantRows(t, url, `SELECT * FROM orders`, "1|a|1")
		f.w.Close()
		pgtest.Exec(t, url, `DROP OWNED BY `+role+`; DROP ROLE `+role)
	})
}
