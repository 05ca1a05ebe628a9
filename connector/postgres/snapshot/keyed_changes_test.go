package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestChunkFilters: chunks have the rows and columns that the publications send.
// A filter that changes is an error until the tables are asked for again; a list
// of columns that does is another shape.
func TestChunkFilters(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		if majorOf(t, url) < 15 {
			t.Skip("no filters before version 15")
		}
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, a int, b text)", "INSERT INTO t SELECT i, i % 2, 'x' FROM generate_series(1, 20) i",
			"CREATE PUBLICATION pub FOR TABLE t (id, a) WHERE (id > 10)")
		s := chunks(t, newSource(t, url))
		listed := chunkTable(t, s, "public.t")
		table, chosen := listed.Table, listed.Chosen
		q := entrain.ChunkQuery{Table: table, Rows: 3}
		if got := byChunks(t, s, table, 3); len(got) != 10 || len(got[0]) != 2 || got[0][0] != "11" {
			t.Errorf("%q", got)
		}
		if c := readChunk(t, s, entrain.ChunkQuery{Table: table, Of: []string{"5"}}); len(c.Rows) != 0 {
			t.Error("a row that the filter leaves out was read")
		}
		pgtest.Exec(t, url, "ALTER PUBLICATION pub SET TABLE t (id, a) WHERE (id > 15 AND id < 100)")
		for range 2 {
			if err := chunkError(t, s, q); !entrain.IsRetryable(err) || !strings.Contains(err.Error(), "row filter") || !strings.Contains(err.Error(), "15") {
				t.Errorf("another filter: %v", err)
			}
		}
		narrower := chunkTable(t, s, "public.t")
		if chosen == "" || narrower.Chosen == chosen || narrower.Chosen == "" {
			t.Errorf("chosen are %q and %q", chosen, narrower.Chosen)
		}
		if got := byChunks(t, s, narrower.Table, 3); len(got) != 5 {
			t.Errorf("%q", got)
		}
		pgtest.Exec(t, url, "ALTER PUBLICATION pub SET TABLE t (id, b) WHERE (id > 15 AND id < 100)")
		c := readChunk(t, s, q)
		if len(c.Rows) != 0 || c.Last != nil || c.More || c.Table.Version == table.Version || c.Table.Columns[1].Name != "b" {
			t.Errorf("another list of columns: %+v", c)
		}
		if got := byChunks(t, s, c.Table, 3); len(got) != 5 || got[0][1] != "x" {
			t.Errorf("%q", got)
		}
		if other := chunkTable(t, s, "public.t").Chosen; other == narrower.Chosen || other == chosen {
			t.Errorf("another list of columns is chosen by the same words: %q", other)
		}
		pgtest.Exec(t, url, "ALTER PUBLICATION pub DROP TABLE t")
		if err := chunkError(t, s, entrain.ChunkQuery{Table: c.Table, Rows: 1}); !entrain.IsRetryable(err) {
			t.Errorf("a table that is no longer published: %v", err)
		}
		pgtest.Exec(t, url, "ALTER PUBLICATION pub ADD TABLE t (b)", "ALTER PUBLICATION pub SET (publish = 'insert')")
		if ct := chunkTable(t, s, "public.t"); !strings.Contains(ct.Refused, `"id"`) {
			t.Errorf("without its key: %+v", ct)
		}
	})
}

// TestChunkPartitions: a partitioned table that is sent as itself is read as
// itself, in one order over its partitions; one whose rows the log has not all is
// refused.
func TestChunkPartitions(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE m (id int PRIMARY KEY, v text) PARTITION BY LIST (id)", "CREATE TABLE m_0 (v text, x int, id int PRIMARY KEY)", "ALTER TABLE m_0 DROP x",
			"ALTER TABLE m ATTACH PARTITION m_0 FOR VALUES IN (0, 2, 4, 6, 8)", "CREATE TABLE m_1 PARTITION OF m FOR VALUES IN (1, 3, 5, 7, 9) PARTITION BY RANGE (id)",
			"CREATE TABLE m_1_1 PARTITION OF m_1 DEFAULT", "INSERT INTO m SELECT i, 'x' || i FROM generate_series(0, 9) i",
			"CREATE PUBLICATION pub FOR TABLE m WITH (publish_via_partition_root = true)", "CREATE PUBLICATION leaves FOR TABLE m")
		s := chunks(t, newSource(t, url))
		table := chunkTable(t, s, "public.m").Table
		got := byChunks(t, s, table, 3)
		if len(got) != 10 || !slices.IsSortedFunc(got, slices.Compare) {
			t.Errorf("%q", got)
		}
		pgtest.Exec(t, url, "CREATE TABLE m_2 PARTITION OF m DEFAULT", "INSERT INTO m VALUES (100, 'new')")
		if got := byChunks(t, s, table, 3); len(got) != 11 {
			t.Errorf("%q", got)
		}
		cfg := sourceConfig(t, url)
		cfg.Publication = "leaves"
		leaves := chunks(t, mustSource(t, cfg))
		if got := byChunks(t, leaves, chunkTable(t, leaves, "public.m_0").Table, 3); len(got) != 5 {
			t.Errorf("%q", got)
		}
		pgtest.Exec(t, url, "DROP TABLE m_2", "CREATE UNLOGGED TABLE m_3 (id int PRIMARY KEY, v text)", "ALTER TABLE m ATTACH PARTITION m_3 DEFAULT")
		if err := chunkError(t, s, entrain.ChunkQuery{Table: table, Rows: 1}); !entrain.IsRetryable(err) {
			t.Errorf("with an unlogged partition: %v", err)
		}
		if ct := chunkTable(t, s, "public.m"); ct.Refused == "" {
			t.Error("a table with an unlogged partition is not refused")
		}
	})
}

// TestChunkOfInherited: a table is read without those that inherit from it, which
// are others in the log.
func TestChunkOfInherited(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE p (id int PRIMARY KEY)", "CREATE TABLE c (PRIMARY KEY (id)) INHERITS (p)", "INSERT INTO p VALUES (1)", "INSERT INTO c VALUES (2)",
			"CREATE PUBLICATION pub FOR ALL TABLES")
		s := chunks(t, newSource(t, url))
		if got := byChunks(t, s, chunkTable(t, s, "public.p").Table, 1); len(got) != 1 || got[0][0] != "1" {
			t.Errorf("%q", got)
		}
	})
}

// TestChunkBehindCommand: algorithms §5 and §6.4. A chunk waits for a command that
// has the table to itself, and sees what that leaves: the view is taken behind the
// lock, else a rewritten table would look empty. It does not wait for long.
func TestChunkBehindCommand(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, b text)", "INSERT INTO t SELECT i, 'x' FROM generate_series(1, 1000) i", "CREATE PUBLICATION pub FOR ALL TABLES")
		s := chunks(t, newSource(t, url))
		table := chunkTable(t, s, "public.t").Table
		q := entrain.ChunkQuery{Table: table, Rows: 5000}
		behind := func(sql, end string) (*entrain.Chunk, error) {
			return readBehind(t, behindCommand{url, s, q, sql, end})
		}
		for _, c := range []struct {
			sql, end string
			rows     int
		}{
			{"ALTER TABLE t ALTER b TYPE text USING repeat(b, 2)", "COMMIT", 1000},
			{"ALTER TABLE t ADD c int", "ROLLBACK", 1000},
			{"TRUNCATE t", "ROLLBACK", 1000},
			{"TRUNCATE t; INSERT INTO t VALUES (1, 'new')", "COMMIT", 1},
		} {
			got, err := behind(c.sql, c.end)
			if err != nil || len(got.Rows) != c.rows || got.Table.Version != table.Version {
				t.Errorf("%s; %s: %+v, %v", c.sql, c.end, got, err)
			}
		}
		got, err := behind("ALTER TABLE t ADD c int DEFAULT 7", "COMMIT")
		if err != nil || len(got.Rows) != 0 || len(got.Table.Columns) != 3 {
			t.Fatalf("another shape: %+v, %v", got, err)
		}
		q.Table = got.Table
		if got, err = behind("ALTER TABLE t ALTER c TYPE bigint", "ROLLBACK"); err != nil || len(got.Rows) != 1 {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := behind("LOCK t", ""); !entrain.IsRetryable(err) || errors.Is(err, entrain.ErrDisconnected) {
			t.Errorf("behind a lock that stays: %v", err)
		}
		if _, err := behind("DROP TABLE t", "COMMIT"); !entrain.IsRetryable(err) {
			t.Errorf("of a dropped table: %v", err)
		}
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, b text, c int)", "INSERT INTO t VALUES (1), (2)")
		if got := byChunks(t, s, q.Table, 1); len(got) != 2 {
			t.Errorf("made anew: %q", got)
		}
	})
}

// behindCommand is a query, and a command that has the table for itself until end;
// without it, until the query has failed.
type behindCommand struct {
	url      string
	s        entrain.ChunkSession
	q        entrain.ChunkQuery
	sql, end string
}

// readBehind reads a chunk that waits for a command.
func readBehind(t *testing.T, b behindCommand) (*entrain.Chunk, error) {
	t.Helper()
	conn := pgtest.Connect(t, b.url)
	do(t, conn, "BEGIN; "+b.sql)
	type answer struct {
		c   *entrain.Chunk
		err error
	}
	read := make(chan answer, 1)
	go func() {
		c, err := b.s.Read(t.Context(), b.q)
		read <- answer{c, err}
	}()
	pgtest.Eventually(t, patience, "the chunk waits", func() bool {
		return pgtest.QueryOne(t, b.url, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass") == "1"
	})
	if b.end != "" {
		do(t, conn, b.end)
	}
	a := <-read
	if b.end == "" {
		do(t, conn, "ROLLBACK")
	}
	return a.c, a.err
}

// TestChunkChangesInside: a table whose publication changes between the view and
// the end of a chunk is read again. The row filter gives time for that.
func TestChunkChangesInside(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		if majorOf(t, url) < 15 {
			t.Skip("no filters before version 15")
		}
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, b text)", "INSERT INTO t SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 4000) i",
			"CREATE PUBLICATION pub FOR TABLE t WHERE (length(regexp_replace(b, '(0|1)(2|3).*(a|b)$', 'x')) > 0)")
		s := chunks(t, newSource(t, url))
		q := entrain.ChunkQuery{Table: chunkTable(t, s, "public.t").Table, Rows: 4000}
		failed := make(chan error, 1)
		go func() {
			_, err := s.Read(t.Context(), q)
			failed <- err
		}()
		pgtest.Eventually(t, patience, "the chunk is being read", func() bool {
			return pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%' AND state = 'active'") == "1"
		})
		pgtest.Exec(t, url, "ALTER PUBLICATION pub SET TABLE t WHERE (id > 0)")
		if err := <-failed; !entrain.IsRetryable(err) || !strings.Contains(err.Error(), "changed meanwhile") {
			t.Errorf("read: %v", err)
		}
		if err := chunkError(t, s, q); !strings.Contains(err.Error(), "row filter") {
			t.Errorf("read again: %v", err)
		}
	})
}

// TestChunkRights: what the role may not read is the named stop that a snapshot
// has, whose SQL gives it back.
func TestChunkRights(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		pgtest.Exec(t, url, "CREATE SCHEMA s", "CREATE TABLE s.t (id int PRIMARY KEY)", "INSERT INTO s.t VALUES (1), (2)",
			"CREATE TABLE s.m (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE s.m_1 PARTITION OF s.m DEFAULT", "INSERT INTO s.m VALUES (1)",
			"CREATE PUBLICATION pub FOR TABLE s.t, s.m WITH (publish_via_partition_root = true)",
			fmt.Sprintf("CREATE ROLE %[1]s LOGIN; GRANT USAGE ON SCHEMA s TO %[1]s; GRANT SELECT ON s.t, s.m TO %[1]s", role))
		cfg := sourceConfig(t, url)
		cfg.URL = connector.Secret(strings.Replace(url, "postgres@", role+"@", 1))
		s := chunks(t, mustSource(t, cfg))
		table := chunkTable(t, s, "s.t").Table
		q := entrain.ChunkQuery{Table: table, Rows: 10}
		if err := s.Settle(t.Context()); err != nil {
			t.Errorf("settle: %v", err)
		}
		if got := byChunks(t, s, chunkTable(t, s, "s.m").Table, 10); len(got) != 1 {
			t.Errorf("a partitioned table whose partitions may not be read: %q", got)
		}
		for _, c := range []struct{ sql, code string }{
			{"", ""}, {"REVOKE SELECT ON s.t FROM %s", "no_select_right"}, {"REVOKE USAGE ON SCHEMA s FROM %s", "no_select_right"},
			{"ALTER TABLE s.t ENABLE ROW LEVEL SECURITY", "row_security"},
		} {
			if c.code != "" {
				pgtest.Exec(t, url, strings.Replace(c.sql, "%s", role, 1))
				stop := expectStop(t, chunkError(t, s, q), c.code)
				pgtest.Exec(t, url, nextSQL(stop))
			}
			if got := readChunk(t, s, q); len(got.Rows) != 2 {
				t.Errorf("behind %q: %d rows", c.sql, len(got.Rows))
			}
		}
	})
}

// TestChunkSessionEnds: a session whose connection has ended says so, retryably,
// whatever it is asked; another one goes on.
func TestChunkSessionEnds(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, b text)", "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 10000) i", "CREATE PUBLICATION pub FOR ALL TABLES")
		src := newSource(t, url)
		s := chunks(t, src)
		q := entrain.ChunkQuery{Table: chunkTable(t, s, "public.t").Table, Rows: 10000}
		endChunkSessions(t, url)
		for range 2 {
			if err := chunkError(t, s, q); !errors.Is(err, entrain.ErrDisconnected) {
				t.Errorf("read: %v", err)
			}
		}
		if err := s.Settle(t.Context()); !errors.Is(err, entrain.ErrDisconnected) {
			t.Errorf("settle: %v", err)
		}
		if _, err := s.Tables(t.Context()); !errors.Is(err, entrain.ErrDisconnected) {
			t.Errorf("tables: %v", err)
		}
		ended := 0
		for n := range 40 {
			s := chunks(t, src)
			if _, err := s.Tables(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*500*time.Microsecond)
			c, err := s.Read(ctx, q)
			cancel()
			switch {
			case err == nil && len(c.Rows) != 10000:
				t.Errorf("%d rows", len(c.Rows))
			case err != nil && !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("interrupted: %v", err)
			case err != nil:
				ended++
			}
			s.Close()
		}
		if ended == 0 {
			t.Error("no read was interrupted")
		}
		sessions := "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%_chunks'"
		pgtest.Eventually(t, patience, "no session is left", func() bool { return pgtest.QueryOne(t, url, sessions) == "0" })
	})
}

// TestChunkOfLargeRows: P6. A chunk of large rows is cut short, and a row above
// the limit is a named stop.
func TestChunkOfLargeRows(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT i, repeat('x', 1000000) FROM generate_series(1, 60) i", "CREATE PUBLICATION pub FOR ALL TABLES")
		cfg := sourceConfig(t, url)
		cfg.MaxEventBytes = 5 << 20
		s := chunks(t, mustSource(t, cfg))
		table := chunkTable(t, s, "public.t").Table
		for range 2 {
			c := readChunk(t, s, entrain.ChunkQuery{Table: table, Rows: 50})
			if len(c.Rows) > 20 || len(c.Rows) < 10 || !c.More {
				t.Errorf("%d rows of 1 MB, more: %t", len(c.Rows), c.More)
			}
		}
		if got := byChunks(t, s, table, 50); len(got) != 60 {
			t.Errorf("%d rows", len(got))
		}
		pgtest.Exec(t, url, "UPDATE t SET v = repeat('x', 6000000) WHERE id = 2")
		expectStop(t, chunkError(t, s, entrain.ChunkQuery{Table: table, Rows: 50}), "event_too_large")
	})
}

// TestChunkOfAll: of a table without filter and list all is chosen, also once it has
// another column; a list is a choice that a further column does not change.
func TestChunkOfAll(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR TABLE t")
		s := chunks(t, newSource(t, url))
		for _, sql := range []string{"ALTER TABLE t ADD a int", "ALTER TABLE t DROP a"} {
			if c := chunkTable(t, s, "public.t").Chosen; c != "" {
				t.Errorf("chosen are %q", c)
			}
			pgtest.Exec(t, url, sql)
		}
		if majorOf(t, url) < 15 {
			return
		}
		pgtest.Exec(t, url, "ALTER PUBLICATION pub SET TABLE t (id)")
		list := chunkTable(t, s, "public.t").Chosen
		pgtest.Exec(t, url, "ALTER TABLE t ADD b int")
		if c := chunkTable(t, s, "public.t").Chosen; list == "" || c != list {
			t.Errorf("chosen are %q, then %q", list, c)
		}
	})
}
