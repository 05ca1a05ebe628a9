package snapshot_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestRewrites: P1. Whatever gives a table other rows, another storage or other
// columns behind the view's back is found before a part of it is read, and a new
// snapshot reads it. Commands that a view withstands are not found.
func TestRewrites(t *testing.T) {
	cases := []struct {
		name, sql string
		fine      bool
	}{
		{"alter type", "ALTER TABLE t ALTER n TYPE bigint", false},
		{"alter type in place", "ALTER TABLE t ALTER body TYPE varchar", false},
		{"truncate", "TRUNCATE t", false},
		{"truncate and fill", "TRUNCATE t; INSERT INTO t SELECT i, i, '' FROM generate_series(1, 3000) i", false},
		{"vacuum full", "VACUUM FULL t", false},
		{"cluster", "CLUSTER t USING t_pkey", false},
		{"set unlogged and logged", "DROP PUBLICATION pub; ALTER TABLE t SET UNLOGGED; ALTER TABLE t SET LOGGED", false},
		{"drop and create", "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, n int, body text)", false},
		{"drop and create in one transaction", "BEGIN; DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, n int, body text); COMMIT", false},
		{"drop", "DROP TABLE t", false},
		{"rename", "ALTER TABLE t RENAME TO other", false},
		{"rename the schema", "CREATE SCHEMA other; ALTER TABLE t SET SCHEMA other", false},
		{"drop a column", "ALTER TABLE t DROP body", false},
		{"drop and add a column", "ALTER TABLE t DROP body; ALTER TABLE t ADD body text DEFAULT 'x'", false},
		{"swap columns", "ALTER TABLE t RENAME id TO x; ALTER TABLE t RENAME n TO id; ALTER TABLE t RENAME x TO n", false},
		{"new column that rewrites", "ALTER TABLE t ADD c uuid DEFAULT gen_random_uuid()", false},
		{"new column", "ALTER TABLE t ADD c int DEFAULT 3", true},
		{"delete all", "DELETE FROM t", true},
		{"update all", "UPDATE t SET n = -1", true},
		{"delete and vacuum", "DELETE FROM t; VACUUM t", true},
		{"new index", "CREATE INDEX ON t (n)", true},
	}
	eachShared(t, func(t *testing.T, url string) {
		src := newSource(t, url)
		for _, c := range cases {
			pgtest.Exec(t, url, "DROP PUBLICATION IF EXISTS pub", "DROP TABLE IF EXISTS t, other, other.t", "DROP SCHEMA IF EXISTS other",
				"CREATE TABLE t (id int PRIMARY KEY, n int, body text)", "CREATE PUBLICATION pub FOR TABLE t",
				"INSERT INTO t SELECT i, i, repeat('x', i % 100) FROM generate_series(1, 3000) i", "DELETE FROM t WHERE id % 3 = 0")
			s := take(t, src, entrain.SnapshotRequest{PartRows: 500})
			first := content{}
			if err := readPart(t, s, entrain.SnapshotPart{}, func(e *entrain.Event) { first.apply(t, e) }); err != nil {
				t.Fatal(err)
			}
			pgtest.Exec(t, url, strings.Split(c.sql, "; ")...)
			got := content{}
			err := readTable(t, s, 0, func(e *entrain.Event) { got.apply(t, e) })
			switch n := len(got["public.t"]); {
			case c.fine && (err != nil || n != 2000):
				t.Errorf("%s: %d rows, %v", c.name, n, err)
			case !c.fine && (!entrain.IsRetryable(err) || !strings.Contains(err.Error(), "rewritten since the snapshot") || !strings.Contains(err.Error(), "public.t")):
				t.Errorf("%s: %d rows, %v", c.name, n, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestLockWait: a part waits for a command that has the table, as long as its
// context does, and the server's session is gone then.
func TestLockWait(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
		s := take(t, newSource(t, url), entrain.SnapshotRequest{})
		other := pgtest.Connect(t, url)
		if _, err := other.Exec(t.Context(), "BEGIN; LOCK TABLE t").ReadAll(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := s.Read(ctx, entrain.SnapshotPart{}); err == nil || ctx.Err() == nil {
			t.Errorf("read beside a lock: %v", err)
		}
		waits := "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
		pgtest.Eventually(t, patience, "nobody waits for the lock", func() bool { return pgtest.QueryOne(t, url, waits) == "0" })

		failed := make(chan error)
		go func() {
			_, err := s.Read(t.Context(), entrain.SnapshotPart{})
			failed <- err
		}()
		pgtest.Eventually(t, patience, "a part waits for the lock", func() bool { return pgtest.QueryOne(t, url, waits) == "1" })
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-failed; err == nil {
			t.Error("a part was read of a closed snapshot")
		}
		pgtest.Eventually(t, patience, "nobody waits for the lock", func() bool { return pgtest.QueryOne(t, url, waits) == "0" })
	})
}
