package snapshot_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// write changes rows of t and u in small transactions until ctx ends.
func write(ctx context.Context, url string, seed uint64, count *atomic.Int64) error {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rng := rand.New(rand.NewPCG(seed, 1))
	for ctx.Err() == nil {
		id := rng.IntN(30000)
		sql := fmt.Sprintf(`BEGIN; INSERT INTO t VALUES (%d, %d, 'new') ON CONFLICT (id) DO UPDATE SET n = t.n + 1;
			DELETE FROM t WHERE id = %d; SAVEPOINT s; UPDATE t SET body = repeat('%d ', 500) WHERE id = %d;
			UPDATE u SET n = n + 1 WHERE id = %d; %s`,
			id, seed, rng.IntN(30000), id, rng.IntN(30000), rng.IntN(100),
			[]string{"COMMIT", "COMMIT", "ROLLBACK TO s; COMMIT", "ROLLBACK"}[rng.IntN(4)])
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			if _, err := conn.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
				return nil // the test has ended
			}
		}
		count.Add(1)
	}
	return nil
}

// TestHandoff: PG-29, P1, P2. What writers do meanwhile is either in the snapshot
// or in the stream from its point on, and never in both.
func TestHandoff(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, n bigint, body text)", "CREATE TABLE u (id int PRIMARY KEY, n int)",
			"INSERT INTO t SELECT i, 0, CASE WHEN i % 3 > 0 THEN 'row ' || i END FROM generate_series(0, 20000) i", "INSERT INTO u SELECT i, 0 FROM generate_series(0, 99) i")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var writers sync.WaitGroup
		var count atomic.Int64
		for seed := range 4 {
			writers.Go(func() {
				if err := write(ctx, url, uint64(seed), &count); err != nil {
					t.Error(err)
				}
			})
		}
		src := newSource(t, url)
		pgtest.Eventually(t, patience, "the writers have begun", func() bool { return count.Load() > 20 })
		s := take(t, src, entrain.SnapshotRequest{PartRows: 1000})
		before := count.Load()
		pgtest.Eventually(t, patience, "the writers go on", func() bool { return count.Load() > before+100 })
		got := copied(t, s)
		pgtest.Eventually(t, patience, "the writers go on", func() bool { return count.Load() > before+300 })
		stop()
		writers.Wait()
		if parts := s.Tables()[index(t, s, "public.t")].Parts; parts < 5 {
			t.Errorf("%d parts", parts)
		}
		follow(t, src, s.Point(), got)
		for _, table := range []string{"t", "u"} {
			equal(t, table, got["public."+table], stored(t, url, table, "*"))
		}
		t.Logf("%d transactions, snapshot at %X", count.Load(), s.Point().Version)
	})
}

// TestNothingStays: what the snapshot needs at the server ends with it; what the
// stream needs stays.
func TestNothingStays(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 10)")
		slots := "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
		sessions := "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
		src := newSource(t, url)
		alone := take(t, src, entrain.SnapshotRequest{Standalone: true})
		if got := copied(t, alone); len(got["public.t"]) != 10 || !alone.Point().From.IsZero() {
			t.Errorf("alone: %d rows at %+v", len(got["public.t"]), alone.Point())
		}
		if got := pgtest.QueryOne(t, url, slots); got != "0" {
			t.Errorf("%s slots while a snapshot alone is open", got)
		}
		if err := alone.Close(); err != nil {
			t.Error(err)
		}
		if got := pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_publication"); got != "0" {
			t.Errorf("%s publications", got)
		}
		s := take(t, src, entrain.SnapshotRequest{})
		if got := copied(t, s); len(got["public.t"]) != 10 || s.Point().From.IsZero() {
			t.Errorf("%d rows at %+v", len(got["public.t"]), s.Point())
		}
		if got := pgtest.QueryOne(t, url, slots); got != "1" {
			t.Errorf("%s slots while a snapshot is open", got)
		}
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		pgtest.Eventually(t, patience, "no session is left", func() bool { return pgtest.QueryOne(t, url, sessions) == "0" })
		if _, err := s.Read(t.Context(), entrain.SnapshotPart{}); err == nil {
			t.Error("a closed snapshot was read")
		}
	})
}

// TestOddTables: a table without columns, one without rows and a partitioned one
// without partitions have a part each.
func TestOddTables(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE none ()", "CREATE TABLE empty (id int PRIMARY KEY)", "CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id)",
			"INSERT INTO none SELECT FROM generate_series(1, 3)", "CREATE PUBLICATION pub FOR ALL TABLES WITH (publish_via_partition_root = true)")
		s := take(t, newSource(t, url), entrain.SnapshotRequest{})
		for i, st := range s.Tables() {
			n := 0
			if err := readTable(t, s, i, func(e *entrain.Event) { n++ }); err != nil {
				t.Error(err)
			}
			if want := map[string]int{"none": 3}[st.Table.Name]; n != want || st.Parts != 1 {
				t.Errorf("%s: %d rows in %d parts", st.Table, n, st.Parts)
			}
		}
		if len(s.Tables()) != 3 {
			t.Errorf("%d tables", len(s.Tables()))
		}
		for _, p := range []entrain.SnapshotPart{{Table: 3}, {Number: 1}, {Table: -1}, {Number: -1}} {
			if _, err := s.Read(t.Context(), p); err == nil {
				t.Errorf("part %+v was opened", p)
			}
		}
	})
}
