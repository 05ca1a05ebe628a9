package capture

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/apply"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// route is a case of what goes from a source to a PostgreSQL sink.
type route struct {
	since int
	// setup makes the tables at the source; target those at the target, where
	// they differ.
	setup, target []string
	changes       []string
	// compare is asked at both ends, or expect instead of it at the source.
	compare, expect string
}

const parts = `CREATE TABLE p (id int, at date, v text, big text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)`

var routes = map[string]route{
	"partitions through the root, into a plain table": {
		setup: []string{parts, "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
			"CREATE TABLE p_2 (v text, gone int, big text, at date NOT NULL, id int NOT NULL); ALTER TABLE p_2 DROP COLUMN gone; ALTER TABLE p ATTACH PARTITION p_2 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"},
		target: []string{"CREATE TABLE p (big text, v text, id int, at date, PRIMARY KEY (id, at))"},
		changes: []string{"INSERT INTO p SELECT i, date '2025-06-01' + 60 * i, 'v' || i, repeat('x', 5000) FROM generate_series(1, 8) i",
			"UPDATE p SET at = at + 365 WHERE id < 3", "UPDATE p SET v = 'u' WHERE id % 2 = 0",
			"CREATE TABLE p_3 PARTITION OF p FOR VALUES FROM ('2027-01-01') TO ('2028-01-01'); INSERT INTO p VALUES (9, '2027-02-03', 'new', NULL)",
			"UPDATE p SET at = '2027-01-01' WHERE id = 8", "DELETE FROM p WHERE id = 7"},
		compare: "SELECT id, at, v, length(big) FROM p ORDER BY 1",
	},
	"partitions by leaf, into other partitions": {
		setup: []string{parts, "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
			"CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
			"CREATE PUBLICATION pub FOR TABLE p WITH (publish_via_partition_root = false)"},
		changes: []string{"INSERT INTO p SELECT i, date '2025-06-01' + 60 * i, 'v' || i, NULL FROM generate_series(1, 8) i",
			"UPDATE p SET at = at + 365 WHERE id < 3", "UPDATE p SET v = 'u'", "TRUNCATE p_1"},
		compare: "SELECT tableoid::regclass, id, at, v FROM p ORDER BY 2",
	},
	"generated columns, computed at both ends": {
		setup: []string{"CREATE TABLE g (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 2) STORED, v text)",
			"CREATE TABLE f (a int, s int GENERATED ALWAYS AS (a * 2) STORED); ALTER TABLE f REPLICA IDENTITY FULL"},
		changes: []string{"INSERT INTO g (id, a) VALUES (1, 1), (2, 2)", "UPDATE g SET a = a + 1", "INSERT INTO f (a) VALUES (1), (1), (2)",
			"UPDATE f SET a = 5 WHERE a = 1", "DELETE FROM f WHERE a = 2", "UPDATE g SET id = 3 WHERE id = 2", "DELETE FROM g WHERE id = 1"},
		compare: "SELECT id, a, s FROM g UNION ALL SELECT 0, a, s FROM f ORDER BY 1, 2",
	},
	"generated columns, plain at the target": {
		since:   18,
		setup:   []string{"CREATE TABLE g (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 2) STORED)"},
		target:  []string{"CREATE TABLE g (id int PRIMARY KEY, a int, s int)"},
		changes: []string{"INSERT INTO g (id, a) VALUES (1, 1), (2, 2)", "UPDATE g SET a = 7 WHERE id = 1"},
		compare: "SELECT id, a, s FROM g ORDER BY 1",
	},
	"virtual columns at both ends": {
		since: 18,
		setup: []string{"CREATE TABLE g (id int PRIMARY KEY, a int, v int GENERATED ALWAYS AS (a * 3) VIRTUAL, s int GENERATED ALWAYS AS (a * 2) STORED)"},
		changes: []string{"INSERT INTO g (id, a) VALUES (1, 1), (2, 2)", "UPDATE g SET a = 7 WHERE id = 1", "DELETE FROM g WHERE id = 2",
			"INSERT INTO g (id, a) SELECT i, i FROM generate_series(10, 2000) i"},
		compare: "SELECT count(*), sum(id), sum(a), sum(v), sum(s) FROM g",
	},
	"a filter that rows enter and leave": {
		since: 15,
		setup: []string{"CREATE TABLE t (id int PRIMARY KEY, state text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; ALTER TABLE t REPLICA IDENTITY FULL",
			"CREATE PUBLICATION pub FOR TABLE t WHERE (state = 'open')"},
		changes: []string{"INSERT INTO t SELECT i, CASE WHEN i % 2 = 0 THEN 'open' ELSE 'shut' END, repeat('x', 4000) FROM generate_series(1, 20) i",
			"UPDATE t SET state = 'open' WHERE id % 3 = 0", "UPDATE t SET state = 'shut' WHERE id % 4 = 0", "UPDATE t SET id = id + 100 WHERE id > 10"},
		compare: "SELECT id, state, length(big) FROM t ORDER BY 1",
		expect:  "SELECT id, state, length(big) FROM t WHERE state = 'open' ORDER BY 1",
	},
}

// TestRoutes: P1. What a table holds at the source it holds at the target, also
// where the two are of different kinds (PG-08, PG-10, PG-11).
func TestRoutes(t *testing.T) {
	for name, c := range routes {
		t.Run(name, func(t *testing.T) {
			eachSince(t, c.since, func(t *testing.T, url string) {
				target := targetOf(t, url)
				pgtest.Exec(t, url, c.setup...)
				if pgtest.Exec(t, target, c.target...); c.target == nil {
					pgtest.Exec(t, target, c.setup...)
				}
				src := newTestSource(t, url)
				from := createSlot(t, src)
				pgtest.Exec(t, url, c.changes...)
				if err := transfer(t, src, from, target); err != nil {
					t.Fatal(err)
				}
				expect := c.expect
				if expect == "" {
					expect = c.compare
				}
				if got, want := pgtest.Query(t, target, c.compare), pgtest.Query(t, url, expect); !reflect.DeepEqual(got, want) {
					t.Fatalf("%s\ngot:\n%q\nwant:\n%q", c.compare, got, want)
				}
			})
		})
	}
}

// targetOf makes a second database beside the one of the URL.
func targetOf(t *testing.T, url string) string {
	t.Helper()
	name := pgtest.Name(t)
	pgtest.Exec(t, url, "CREATE DATABASE "+name)
	pgtest.GrantCreate(t, url, name)
	return url[:strings.LastIndex(url, "/")+1] + name
}

// transfer applies at the target what is committed now and returns what the sink
// says against it.
func transfer(t *testing.T, src *Source, from entrain.Position, target string) error {
	t.Helper()
	bounded, err := src.Until("now")
	if err != nil {
		t.Fatal(err)
	}
	r := openReader(t, bounded, from)
	defer closeReader(t, r)
	w := openWriter(t, target)
	for {
		b, err := readOrError(t, r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), b); err != nil {
			return err
		}
		if b.Free != nil {
			b.Free()
		}
	}
}

// openWriter opens a session with the target that has taken the position over.
func openWriter(t *testing.T, url string) entrain.Writer {
	t.Helper()
	sink, err := apply.NewSink(apply.Config{URL: connector.Secret(pgtest.TargetURL(url)), Pipeline: "test"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := sink.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if _, err := w.(entrain.Positioner).Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestNoEncodingIntoUTF8: PG-31, P1. Bytes that are no text are refused by a
// target that has only text, by name; they are never changed.
func TestNoEncodingIntoUTF8(t *testing.T) {
	eachEncoded(t, "SQL_ASCII", func(t *testing.T, src *Source, url string) {
		from := createSlot(t, src)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 'ünï')", `INSERT INTO t VALUES (2, E'caf\xe9')`)
		target := targetOf(t, strings.TrimSuffix(url, "?client_encoding=UTF8"))
		pgtest.Exec(t, target, oneTable)
		err := transfer(t, src, from, target)
		var stop *entrain.Stop
		if err == nil || entrain.IsRetryable(err) || !strings.Contains(err.Error(), "public.t") {
			t.Errorf("the sink says %v", err)
		}
		t.Logf("the sink says %v (a stop: %t)", err, errors.As(err, &stop))
		if n := pgtest.QueryOne(t, target, "SELECT count(*) FROM t WHERE id = 2"); n != "0" {
			t.Error("the row was written")
		}
	})
}
