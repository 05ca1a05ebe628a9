package capture

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// eachSince is eachShared on the versions from one on.
func eachSince(t *testing.T, since int, run func(t *testing.T, url string)) {
	t.Helper()
	for _, major := range pgtest.Majors(t) {
		if major < since {
			continue
		}
		t.Run(versionName(major), func(t *testing.T) {
			t.Parallel()
			run(t, pgtest.CreateDatabase(t, pgtest.Shared(t, major)))
		})
	}
}

// TestStopGeneratedIdentity: PG-10, P1. Before version 18 the log does not have
// generated columns: rows that only they identify are refused. What the stop
// prints mends it.
func TestStopGeneratedIdentity(t *testing.T) {
	eachMajor(t, func(t *testing.T, major int) {
		url := pgtest.CreateDatabase(t, pgtest.Shared(t, major))
		pgtest.Exec(t, url, `CREATE TABLE "t t" (a int, b int, g int GENERATED ALWAYS AS (a + b) STORED, PRIMARY KEY (a, g))`)
		src := newTestSource(t, url)
		if major*10000 < publishesGenerated {
			stop := expectStop(t, openError(t, src, entrain.Position{}), "generated_identity")
			if !strings.Contains(stop.What, `"public"."t t" (g)`) {
				t.Errorf("stop %+v", stop)
			}
			pgtest.Exec(t, url, `CREATE PUBLICATION pub FOR TABLE "t t"`)
			expectStop(t, openError(t, src, entrain.Position{}), "generated_identity")
			pgtest.Exec(t, url, "DROP PUBLICATION pub", stop.Next)
		}
		from := createSlot(t, src)
		pgtest.Exec(t, url, `INSERT INTO "t t" VALUES (1, 1), (1, 2)`, `UPDATE "t t" SET b = 3 WHERE b = 2`, `DELETE FROM "t t" WHERE b = 3`)
		captureExactly(t, src, from, "", "", `"before":{"a":1,`, `"before":{"a":1,`)
	})
}

// TestVirtualIdentity: PG-10. From version 18 on the server refuses updates of
// published rows whose identity has columns that it cannot publish: such a table
// is not published, or named if it is already, and what is printed mends it.
func TestVirtualIdentity(t *testing.T) {
	eachSince(t, 18, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE "v v" (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id + 1) VIRTUAL); ALTER TABLE "v v" REPLICA IDENTITY FULL`,
			"CREATE TABLE s (id int, g int GENERATED ALWAYS AS (id + 1) STORED); ALTER TABLE s REPLICA IDENTITY FULL")
		src := newTestSource(t, url)
		stop := expectStop(t, openError(t, src, entrain.Position{}), "generated_identity")
		pgtest.Exec(t, url, "CREATE PUBLICATION pub FOR ALL TABLES")
		said := warnings(t, src.cfg)
		const publish = `ALTER PUBLICATION "pub" SET (publish_generated_columns = stored);`
		if !strings.Contains(said, stop.Next) || !strings.Contains(said, publish) || strings.Contains(stop.What, `"s"`) {
			t.Errorf("warned %s\nstop %+v", said, stop)
		}
		pgtest.Exec(t, url, stop.Next, publish, "INSERT INTO s VALUES (1)", `INSERT INTO "v v" VALUES (1)`,
			"UPDATE s SET id = 2", `UPDATE "v v" SET id = 2`)
		if said := warnings(t, src.cfg); strings.Contains(said, "generated") {
			t.Errorf("after mending: %s", said)
		}
	})
}

// TestStopInsertIncomplete: PG-08, P1. An update that makes a row pass the
// filter is an insert, without the large values that it left alone. That is
// refused, and does not happen once the SQL that is printed was run.
func TestStopInsertIncomplete(t *testing.T) {
	eachSince(t, 15, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL",
			"CREATE PUBLICATION pub FOR TABLE t WHERE (id > 0)")
		src := newTestSource(t, url)
		from := createSlot(t, src)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 1, 'before'), (-2, 2, repeat('x', 5000)), (-3, 3, repeat('y', 5000))", "UPDATE t SET id = 2 WHERE id = -2")
		r := openReader(t, src, from)
		captureLines(t, r, 1)
		stop := expectStop(t, readUntilError(t, r), "insert_incomplete")
		if !strings.Contains(stop.What, `public.t in transaction`) || !strings.Contains(stop.What, `"big"`) {
			t.Errorf("stop %+v", stop)
		}
		closeReader(t, r)
		pgtest.Exec(t, url, nextSQL(stop), dropSlot(src.cfg.Slot))
		from = createSlot(t, src)
		pgtest.Exec(t, url, "UPDATE t SET id = 3 WHERE id = -3")
		captureExactly(t, src, from, `"big":"yyy`)
	})
}

// TestStopColumnListConflict: PG-09. Publications that list different columns of
// a table are a named stop where the difference begins.
func TestStopColumnListConflict(t *testing.T) {
	eachSince(t, 15, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE PUBLICATION one FOR TABLE t", "CREATE PUBLICATION two FOR TABLE t")
		cfg := sourceConfig(t, url)
		cfg.Publications = []string{"one", "two"}
		src := mustSource(t, cfg)
		from := createSlot(t, src)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 'before')", "ALTER PUBLICATION two SET TABLE t (id)", "INSERT INTO t VALUES (2, 'x')")
		stopAfter(t, openReader(t, src, from), "column_list_conflict", `"public.t"`)
		cfg.Publications = nil
		cfg.Publication = "one"
		pgtest.Exec(t, url, dropSlot(src.cfg.Slot))
		startOver(t, mustSource(t, cfg), url, &entrain.Stop{Next: "nothing"})
	})
}

// TestSeveralPublications: those that are listed are never made, each that is
// missing is named, and none of them is torn down.
func TestSeveralPublications(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE TABLE u (id int PRIMARY KEY)", "CREATE PUBLICATION one FOR TABLE t WITH (publish = 'insert')")
		cfg := sourceConfig(t, url)
		cfg.Publications = []string{"one", `t"wo`}
		src := mustSource(t, cfg)
		stop := expectStop(t, openError(t, src, entrain.Position{}), "publication_not_made")
		if !strings.Contains(stop.What, `t\"wo`) {
			t.Errorf("stop %+v", stop)
		}
		pgtest.Exec(t, url, nextSQL(stop))
		if said := warnings(t, cfg); said != "" {
			t.Errorf("together they have everything, but warned: %s", said)
		}
		from := createSlot(t, src)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 'a')", "DELETE FROM t", "INSERT INTO u VALUES (1)")
		at := captureExactly(t, src, from, "insert", "delete", `"u"`)
		if removals, err := src.Teardown(t.Context()); err != nil || len(removals) != 1 {
			t.Errorf("teardown %+v, %v, want the slot alone", removals, err)
		}
		pgtest.Exec(t, url, "DROP PUBLICATION one")
		expectStop(t, openError(t, src, at), "publication_missing")
	})
}

// TestTableUnpublished: PG-09. What a table that is taken out of the publication
// did before is carried; that the rest is not is said at the next start, with
// SQL that takes it in again.
func TestTableUnpublished(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE TABLE u (id int PRIMARY KEY)")
		src := newTestSource(t, url)
		from := createSlot(t, src)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 'a')",
			"BEGIN; INSERT INTO t VALUES (2, 'b'); ALTER PUBLICATION pub DROP TABLE t; INSERT INTO t VALUES (3, 'c'); INSERT INTO u VALUES (1); COMMIT",
			"DROP TABLE u")
		at := captureExactly(t, src, from, `"id":1,`, `"id":2,`, `"u"`)
		const again = `ALTER PUBLICATION "pub" ADD TABLE "public"."t";`
		if said := warnings(t, src.cfg); !strings.Contains(said, again) {
			t.Errorf("warned %s", said)
		}
		pgtest.Exec(t, url, again, "INSERT INTO t VALUES (4, 'd')")
		captureExactly(t, src, at, `"id":4,`)
	})
}
