package apply

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const familySQL = `CREATE TABLE parents (id int8 PRIMARY KEY, boss int8 REFERENCES parents);
	CREATE TABLE kids (id int8 PRIMARY KEY, parent int8 NOT NULL REFERENCES parents);
	CREATE TABLE toys (id int8 PRIMARY KEY, kid int8 NOT NULL REFERENCES kids ON DELETE CASCADE)`

// TestLoadReferences: rows may come before those that they refer to; they are in
// their tables, all at once, when all have come.
func TestLoadReferences(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, familySQL)
		p, k, y := describe(t, url, "public", "parents"), describe(t, url, "public", "kids"), describe(t, url, "public", "toys")
		lt := newLoadTest(t, url)
		for _, part := range []struct {
			table *entrain.Table
			row   []string
		}{{y, []string{"1", "1"}}, {k, []string{"1", "2"}}, {p, []string{"1", "2"}}} {
			l := lt.load(part.table)
			lt.part(l, part.table, part.row)
			if part.table == p {
				lt.part(l, p, []string{"2", "∅"})
			}
			lt.finish(l)
		}
		wantRows(t, url, `SELECT (SELECT count(*) FROM parents), (SELECT count(*) FROM kids), (SELECT count(*) FROM toys)`, "2|0|0")
		if got := lt.mode("toys") + lt.mode("kids") + lt.mode("parents"); got != "stagedstagedfilled" {
			t.Errorf("modes %q", got)
		}
		// A process that begins anew completes what an earlier one has copied.
		lt = newLoadTest(t, url)
		if notes, err := lt.sink.Notes(t.Context()); err != nil || strings.Join(notes, ",") != "note of kids,note of parents,note of toys" {
			t.Errorf("notes %q, %v", notes, err)
		}
		tables := []entrain.SnapshotTable{snapshotOf(y), snapshotOf(k), snapshotOf(p)}
		if err := lt.complete(tables...); err != nil {
			t.Fatal(err)
		}
		if err := lt.complete(tables...); err != nil {
			t.Fatal(err)
		}
		wantRows(t, url, `SELECT (SELECT count(*) FROM parents), (SELECT count(*) FROM kids), (SELECT count(*) FROM toys)`, "2|1|1")
		if notes, err := lt.sink.Notes(t.Context()); err != nil || len(notes) != 0 {
			t.Errorf("notes %q, %v", notes, err)
		}
		wantRows(t, url, `SELECT count(*) FROM entrain.load`, "0")
		if lt.stages() != "0" {
			t.Error("stages are left")
		}
	})
}

// TestLoadReferencesRefused: a row without its parent is a stop, and nothing is
// lost: what is mended at the target can be completed.
func TestLoadReferencesRefused(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, familySQL)
		k := describe(t, url, "public", "kids")
		lt := newLoadTest(t, url)
		l := lt.load(k)
		lt.part(l, k, []string{"1", "2"})
		if err := lt.complete(snapshotOf(k)); err == nil || !strings.Contains(err.Error(), "not finished") {
			t.Errorf("got %v", err)
		}
		lt.finish(l)
		stop := wantStop(t, lt.complete(snapshotOf(k)), "row_refused")
		for _, word := range []string{"kids_parent_fkey", "table public.kids", "the key (parent) = (2)", "no position in the log"} {
			if !strings.Contains(stop.What, word) || !stop.Data || !strings.HasSuffix(stop.Next, "\n-- then: entrain run FILE") {
				t.Errorf("no %s in %v", word, stop)
			}
		}
		pgtest.Exec(t, url, `INSERT INTO parents VALUES (2)`)
		if err := lt.complete(snapshotOf(k)); err != nil {
			t.Fatal(err)
		}
		wantRows(t, url, `SELECT * FROM kids`, "1|2")
	})
}

// TestLoadCycle: tables that refer to each other need references that can be
// deferred, and the stop makes them so.
func TestLoadCycle(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE hens (id int8 PRIMARY KEY, egg int8 NOT NULL); CREATE TABLE eggs (id int8 PRIMARY KEY, hen int8 NOT NULL REFERENCES hens);
			ALTER TABLE hens ADD FOREIGN KEY (egg) REFERENCES eggs`)
		h, e := describe(t, url, "public", "hens"), describe(t, url, "public", "eggs")
		lt := newLoadTest(t, url)
		for _, table := range []*entrain.Table{h, e} {
			l := lt.load(table)
			lt.part(l, table, []string{"1", "1"})
			lt.finish(l)
		}
		stop := wantStop(t, lt.complete(snapshotOf(h), snapshotOf(e)), "reference_cycle")
		pgtest.Exec(t, url, stop.Next)
		if err := lt.complete(snapshotOf(h), snapshotOf(e)); err != nil {
			t.Fatal(err)
		}
		wantRows(t, url, `SELECT (SELECT count(*) FROM hens), (SELECT count(*) FROM eggs)`, "1|1")
	})
}

// made is a table with a definition.
func made(name string, references ...string) entrain.SnapshotTable {
	t := &entrain.Table{Schema: "shop", Name: name, Columns: []entrain.Column{
		{Name: "id", Type: "int8", Modifier: -1, Key: true}, {Name: "other", Type: "int8", Modifier: -1}, {Name: "mood", Type: "shop.mood", Modifier: -1}}}
	t.Version = t.Fingerprint()
	return entrain.SnapshotTable{Table: t, Rows: -1, Parts: 1, Definition: &entrain.Definition{
		Dialect: "postgres",
		Before: []string{`CREATE SCHEMA IF NOT EXISTS shop`, `CREATE TYPE shop.mood AS ENUM ('good', 'bad')`,
			fmt.Sprintf(`CREATE TABLE IF NOT EXISTS shop.%s (id int8 PRIMARY KEY, other int8, mood shop.mood)`, name)},
		After:      []string{fmt.Sprintf(`CREATE UNIQUE INDEX %[1]s_other ON shop.%[1]s (other)`, name)},
		References: references,
	}}
}

func (lt *loadTest) loadMade(t entrain.SnapshotTable, rows ...[]string) error {
	lt.t.Helper()
	l, err := lt.sink.Load(lt.t.Context(), t)
	if err != nil {
		return err
	}
	defer l.Close()
	lt.part(l, t.Table, rows...)
	return l.Finish(lt.t.Context(), "made")
}

func mustLoad(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLoadCreatesTables: with create_tables the target needs nothing but the
// right to make tables; without, a missing table is the stop of streaming.
func TestLoadCreatesTables(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		pgtest.Exec(t, url, `CREATE ROLE `+role+` LOGIN; CREATE SCHEMA entrain AUTHORIZATION `+role)
		lt := newLoadTest(t, strings.Replace(url, "postgres@", role+"@", 1))
		var said bytes.Buffer
		lt.sink.cfg.Log = slog.New(slog.NewTextHandler(&said, nil))
		a := made("a", `ALTER TABLE shop.a ADD CONSTRAINT to_nobody FOREIGN KEY (other) REFERENCES elsewhere.c`,
			`ALTER TABLE shop.a ADD CONSTRAINT to_b FOREIGN KEY (other) REFERENCES shop.b`)
		b := made("b")
		wantStop(t, lt.loadMade(a), "table_missing")
		lt.sink.cfg.CreateTables = true
		stop := wantStop(t, lt.loadMade(a), "definition_refused")
		pgtest.Exec(t, url, strings.Split(stop.Next, "\n")[0])
		mustLoad(t, lt.loadMade(a, []string{"1", "2", "good"}))
		if got := lt.mode("a"); got != "filled" {
			t.Errorf("mode %q", got)
		}
		mustLoad(t, lt.loadMade(a, []string{"1", "3", "good"})) // once more, from the start
		stop = wantStop(t, lt.loadMade(b, []string{"3", "1", "bad"}, []string{"4", "1", "bad"}), "definition_refused")
		if !strings.HasPrefix(stop.Next, b.Definition.After[0]) {
			t.Errorf("next is %s", stop.Next)
		}
		mustLoad(t, lt.loadMade(b, []string{"4", "1", "bad"}))
		tables := []entrain.SnapshotTable{a, b}
		stop = wantStop(t, lt.complete(tables...), "definition_refused")
		if !strings.HasPrefix(stop.Next, a.Definition.References[1]) {
			t.Errorf("next is %s", stop.Next)
		}
		pgtest.Exec(t, url, `UPDATE shop.b SET id = 3`, stop.Next)
		mustLoad(t, lt.complete(tables...))
		if n := strings.Count(said.String(), "a reference is left out"); n != 1 {
			t.Errorf("it was said %d times that a reference is left out:\n%s", n, said.String())
		}
		wantRows(t, url, `SELECT * FROM shop.a`, "1|3|good")
		wantRows(t, url, `SELECT string_agg(conname, ',' ORDER BY conname) FROM pg_constraint WHERE conrelid = 'shop.a'::regclass AND contype <> 'n'`, "a_pkey,to_b")
		wantRows(t, url, `SELECT count(*) FROM entrain.load`, "0")
		wantRows(t, url, `SELECT reltuples FROM pg_class WHERE oid = 'shop.a'::regclass`, "1")
	})
}

// TestLoadAfterMadeTable: a table that we made once is like any
// other later.
func TestLoadAfterMadeTable(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		lt := newLoadTest(t, url)
		lt.sink.cfg.CreateTables = true
		a := made("a")
		mustLoad(t, lt.loadMade(a, []string{"1", "1", "good"}, []string{"2", "2", "bad"}))
		mustLoad(t, lt.complete(a))
		mustLoad(t, lt.loadMade(a, []string{"1", "1", "bad"}))
		wantRows(t, url, `SELECT * FROM shop.a ORDER BY id`, "1|1|bad\n2|2|bad")
	})
}

// TestLoadRights proves P5: what the role lacks is a stop whose SQL gives it.
func TestLoadRights(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		pgtest.Exec(t, url, `CREATE ROLE `+role+` LOGIN`, ordersSQL, `INSERT INTO orders VALUES (9, 'theirs', 9)`, positionSchemaSQL, positionTableSQL,
			`GRANT USAGE ON SCHEMA entrain TO `+role+`; GRANT SELECT, INSERT, UPDATE, DELETE ON entrain.position TO `+role)
		o := describe(t, url, "public", "orders")
		lt := newLoadTest(t, strings.Replace(url, "postgres@", role+"@", 1))
		for _, code := range []string{"load_table", "no_privilege"} {
			_, err := lt.sink.Load(t.Context(), snapshotOf(o))
			pgtest.Exec(t, url, wantStop(t, err, code).Next)
		}
		l := lt.load(o)
		lt.part(l, o, []string{"1", "a", "1"})
		lt.finish(l)
		wantRows(t, url, `SELECT id FROM orders ORDER BY id`, "1\n9")
		pgtest.Exec(t, url, `TRUNCATE orders`)
		l = lt.load(o)
		pgtest.Exec(t, url, `REVOKE INSERT ON orders FROM `+role)
		_, err := l.Part(t.Context(), &rowBatches{table: o, rows: [][]string{{"1", "a", "1"}}})
		pgtest.Exec(t, url, wantStop(t, err, "no_privilege").Next)
		lt.part(l, o, []string{"1", "a", "1"})
	})
}

// TestLoadTeardown: what unfinished loads have left is listed and removed.
func TestLoadTeardown(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `INSERT INTO orders VALUES (9, 'theirs', 9)`)
		o := describe(t, url, "public", "orders")
		lt := newLoadTest(t, url)
		lt.part(lt.load(o), o, []string{"1", "a", "1"})
		other, err := NewSink(Config{URL: connector.Secret(pgtest.TargetURL(url)), Pipeline: "other"})
		mustLoad(t, err)
		takeOverFor(t, other)
		for n, s := range map[int]*Sink{2: lt.sink} {
			removals, err := s.Teardown(t.Context())
			mustLoad(t, err)
			if len(removals) != n {
				t.Fatalf("%d removals: %v", len(removals), removals)
			}
			for _, r := range removals {
				mustLoad(t, r.Do(t.Context()))
				mustLoad(t, r.Do(t.Context()))
				pgtest.Exec(t, url, strings.ReplaceAll(r.SQL, "DROP TABLE entrain", "DROP TABLE IF EXISTS entrain"))
			}
		}
		if lt.stages() != "0" || lt.mode("orders") != "" {
			t.Error("there is something left")
		}
		removals, err := other.Teardown(t.Context())
		mustLoad(t, err)
		for _, r := range removals {
			mustLoad(t, r.Do(t.Context()))
		}
		wantRows(t, url, `SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain'`, "0")
	})
}
