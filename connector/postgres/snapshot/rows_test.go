package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestRowFilters: PG-08. What the filters of the publications let pass together
// is read, as the stream sends it.
func TestRowFilters(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		if majorOf(t, url) < 15 {
			t.Skip("versions before 15 have no row filters")
		}
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, n int, v text)", "CREATE TABLE m (id int PRIMARY KEY, n int) PARTITION BY RANGE (id)",
			"CREATE TABLE m_1 (n int, id int NOT NULL)", "ALTER TABLE m ATTACH PARTITION m_1 FOR VALUES FROM (0) TO (1000)",
			"INSERT INTO t SELECT i, nullif(i % 10, 0), 'x' FROM generate_series(1, 100) i", "INSERT INTO m SELECT id, n FROM t",
			"CREATE PUBLICATION a FOR TABLE t WHERE (id < 20 AND n > 2), m WHERE (id > 90) WITH (publish_via_partition_root = true)",
			"CREATE PUBLICATION b FOR TABLE t WHERE (id > 50 OR v IS NULL), m_1 WHERE (id < 5)", "CREATE PUBLICATION c FOR TABLE t",
			"CREATE PUBLICATION d FOR TABLE m_1 WHERE (id < 5)")
		for _, publications := range [][]string{{"a"}, {"a", "b"}, {"a", "b", "c"}, {"b"}, {"d"}, {"a", "d"}} {
			cfg := sourceConfig(t, url)
			cfg.Publications = publications
			src := mustSource(t, cfg)
			s := take(t, src, entrain.SnapshotRequest{PartRows: 30})
			got, want := copied(t, s), content{}
			pgtest.Exec(t, url, "BEGIN; CREATE TEMP TABLE x AS SELECT * FROM t; TRUNCATE t, m; INSERT INTO t SELECT * FROM x; INSERT INTO m SELECT id, n FROM x; COMMIT")
			for _, e := range streamed(t, src, s.Point()) {
				if e.Op == entrain.OpInsert {
					want.apply(t, &e)
				}
			}
			for i := range s.Tables() {
				name := s.Tables()[i].Table.String()
				equal(t, fmt.Sprint(publications, name), got[name], want[name])
			}
			if len(want) != len(s.Tables()) {
				t.Errorf("%v: %d tables, the stream has %d", publications, len(s.Tables()), len(want))
			}
			pgtest.Exec(t, url, "SELECT pg_drop_replication_slot('"+cfg.Slot+"')")
		}
	})
}

// TestListConflict: publications that list other columns of a table are the
// stream's named stop.
func TestListConflict(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		if majorOf(t, url) < 15 {
			t.Skip("versions before 15 have no column lists")
		}
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, n int)", "CREATE PUBLICATION a FOR TABLE t (id)", "CREATE PUBLICATION b FOR TABLE t")
		cfg := sourceConfig(t, url)
		cfg.Publications = []string{"a", "b"}
		expectStop(t, takeError(t, mustSource(t, cfg), entrain.SnapshotRequest{}), "column_list_conflict")
	})
}

// expectStop checks that err is the named stop.
func expectStop(t testing.TB, err error, code string) *entrain.Stop {
	t.Helper()
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != code || stop.What == "" || stop.Why == "" || stop.Next == "" || entrain.IsRetryable(err) {
		t.Fatalf("got %v, want the stop %s", err, code)
	}
	return stop
}

// TestRights: what the role may not read is named, with the SQL that helps.
func TestRights(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		pgtest.Exec(t, url, "CREATE SCHEMA s", "CREATE TABLE s.t (id int PRIMARY KEY)", "INSERT INTO s.t VALUES (1), (2)", "CREATE PUBLICATION pub FOR TABLE s.t",
			"CREATE ROLE "+role+" LOGIN REPLICATION")
		cfg := sourceConfig(t, strings.Replace(url, "postgres@", role+"@", 1))
		s := take(t, mustSource(t, cfg), entrain.SnapshotRequest{})
		read := func() error { return readTable(t, s, 0, func(*entrain.Event) {}) }
		stop := expectStop(t, read(), "no_select_right")
		pgtest.Exec(t, url, strings.Split(strings.Split(stop.Next, "; --")[0], "; ")...)
		if err := read(); err != nil {
			t.Error(err)
		}
		pgtest.Exec(t, url, "ALTER TABLE s.t ENABLE ROW LEVEL SECURITY", "CREATE POLICY p ON s.t USING (id = 1)")
		stop = expectStop(t, read(), "row_security")
		pgtest.Exec(t, url, strings.Split(stop.Next, "; --")[0])
		s.Close()
		s = take(t, mustSource(t, cfg), entrain.SnapshotRequest{})
		if err := read(); err != nil {
			t.Error(err)
		}
	})
}

// TestCopyText: the raw text is what the rows are made of, and is taken once.
func TestCopyText(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, v text)", `INSERT INTO t SELECT i, CASE WHEN i % 3 > 0 THEN repeat(E'\\ \t', i % 50) END FROM generate_series(1, 20000) i`,
			"INSERT INTO t VALUES (0, repeat('x', 3000000))", "CREATE TABLE copy (LIKE t INCLUDING ALL)")
		s := take(t, newSource(t, url), entrain.SnapshotRequest{PartRows: 3000})
		into := pgtest.Connect(t, url)
		var total int64
		for n := range s.Tables()[index(t, s, "public.t")].Parts {
			r, err := s.Read(t.Context(), entrain.SnapshotPart{Table: index(t, s, "public.t"), Number: n})
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			rows, err := r.(textCopier).CopyText(t.Context(), &text)
			if err != nil || int(rows) != bytes.Count(text.Bytes(), []byte("\n")) {
				t.Fatalf("%d rows, %v", rows, err)
			}
			if _, err := into.CopyFrom(t.Context(), &text, "COPY copy FROM STDIN"); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Read(t.Context()); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("rows were read once more: %v", err)
			}
			total += rows
			r.Close()
		}
		equal(t, "copy", stored(t, url, "copy", "*"), stored(t, url, "t", "*"))
		if total != 20001 {
			t.Errorf("%d rows", total)
		}
		r, err := s.Read(t.Context(), entrain.SnapshotPart{Table: index(t, s, "public.t")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := r.(textCopier).CopyText(t.Context(), io.Discard); err == nil {
			t.Error("text was copied behind rows that were read")
		}
		r.Close()
	})
}

// TestCopyBinary: rows in the binary form are counted as they are written, and
// offered for the columns' own types only, domains resolved.
func TestCopyBinary(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE DOMAIN d AS numeric(9,2)", "CREATE TABLE t (id int PRIMARY KEY, v text, n d, at timestamptz)",
			"INSERT INTO t SELECT i, CASE WHEN i % 3 > 0 THEN 'é' || i END, i, 'epoch'::timestamptz + i * interval '1 s' FROM generate_series(1, 5000) i",
			"INSERT INTO t VALUES (0, 'odd', 'NaN', 'infinity')", "CREATE TABLE copy (LIKE t INCLUDING ALL)")
		s := take(t, newSource(t, url), entrain.SnapshotRequest{PartRows: 2000})
		into := pgtest.Connect(t, url)
		var total, counted int64
		for n := range s.Tables()[index(t, s, "public.t")].Parts {
			r, err := s.Read(t.Context(), entrain.SnapshotPart{Table: index(t, s, "public.t"), Number: n})
			if err != nil {
				t.Fatal(err)
			}
			b := r.(interface {
				HasTypes(oids []uint32) bool
				CopyBinary(ctx context.Context, w io.Writer, wrote func(rows int64)) (rows int64, err error)
			})
			if !b.HasTypes([]uint32{23, 25, 1700, 1184}) || b.HasTypes([]uint32{23, 25, 1700, 1114}) || b.HasTypes([]uint32{23, 25, 1700}) {
				t.Error("the types are others")
			}
			var form bytes.Buffer
			rows, err := b.CopyBinary(t.Context(), &form, func(rows int64) { counted += rows })
			if err != nil {
				t.Fatal(err)
			}
			if _, err := into.CopyFrom(t.Context(), &form, "COPY copy FROM STDIN (FORMAT binary)"); err != nil {
				t.Fatal(err)
			}
			total += rows
			r.Close()
		}
		equal(t, "copy", stored(t, url, "copy", "*"), stored(t, url, "t", "*"))
		if total != 5001 || counted != total {
			t.Errorf("%d rows, %d counted", total, counted)
		}
	})
}

// TestTwice: a part that is read again, also at the same time, has the same rows
// with the same ids, though the table was changed.
func TestTwice(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE INDEX ON t (v)", "INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 50000) i",
			"DELETE FROM t WHERE id % 5 = 0")
		s := take(t, newSource(t, url), entrain.SnapshotRequest{PartRows: 10000})
		read := func() map[string]uint64 {
			ids := map[string]uint64{}
			if err := readTable(t, s, 0, func(e *entrain.Event) { ids[strings.Join(values(e, e.After, nil), " ")] = e.Ordinal }); err != nil {
				t.Error(err)
			}
			return ids
		}
		first := read()
		pgtest.Exec(t, url, "UPDATE t SET v = v || 'x' WHERE id % 3 = 0", "INSERT INTO t SELECT i, 'new' FROM generate_series(100000, 110000) i", "VACUUM t", "ANALYZE t")
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				again := read()
				if len(again) != 40000 || len(first) != 40000 {
					t.Errorf("%d rows, then %d", len(first), len(again))
				}
				for row, id := range first {
					if again[row] != id {
						t.Errorf("row %s is %x, then %x", row, id, again[row])
						return
					}
				}
			})
		}
		readers.Wait()
	})
}

// wide has a table that is read in one part of many batches.
func wide(t *testing.T, url string) (s entrain.Snapshot, open func() entrain.RowReader) {
	t.Helper()
	pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 30000) i")
	s = take(t, newSource(t, url), entrain.SnapshotRequest{PartRows: 1000000})
	return s, func() entrain.RowReader {
		r, err := s.Read(t.Context(), entrain.SnapshotPart{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// TestReadContext: a Read whose context ends loses nothing.
func TestReadContext(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		_, open := wide(t, url)
		r := open()
		defer r.Close()
		n, ended := 0, 0
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(ended%20)*100*time.Microsecond)
			b, err := r.Read(ctx)
			cancel()
			if errors.Is(err, io.EOF) {
				break
			}
			if errors.Is(err, context.DeadlineExceeded) {
				ended++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			n += len(b.Events)
			b.Free()
		}
		if n != 30000 || ended == 0 {
			t.Errorf("%d rows, with %d contexts that ended", n, ended)
		}
	})
}

// TestReadEnds: a reader that is closed early, or whose snapshot is, leaves no
// session.
func TestReadEnds(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		s, open := wide(t, url)
		early := open()
		if _, err := early.Read(t.Context()); err != nil {
			t.Error(err)
		}
		for range 2 {
			early.Close()
		}
		if _, err := early.Read(t.Context()); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a closed reader read: %v", err)
		}
		left := open()
		s.Close()
		if _, err := drain(t.Context(), left); err == nil {
			t.Error("a closed snapshot was read to its end")
		}
		left.Close()
		sessions := "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
		pgtest.Eventually(t, patience, "no session is left", func() bool { return pgtest.QueryOne(t, url, sessions) == "0" })
	})
}

// TestHolderEnds: without its holder a snapshot reads no further part, and says
// that a new one may.
func TestHolderEnds(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
		s := take(t, newSource(t, url), entrain.SnapshotRequest{})
		pgtest.Exec(t, url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction' AND application_name LIKE '%snapshot'")
		pgtest.Eventually(t, patience, "the holder is gone", func() bool {
			return pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'") == "0"
		})
		if err := readTable(t, s, 0, func(*entrain.Event) {}); !entrain.IsRetryable(err) {
			t.Errorf("read: %v", err)
		}
	})
}

// TestLargeRows: rows far above a batch's size come one by one, those above the
// limit are a named stop.
func TestLargeRows(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT i, repeat('x', 3000000 * i) FROM generate_series(1, 3) i")
		cfg := sourceConfig(t, url)
		cfg.MaxEventBytes = 20 << 20
		s := take(t, mustSource(t, cfg), entrain.SnapshotRequest{})
		equal(t, "t", copied(t, s)["public.t"], stored(t, url, "t", "*"))
		s.Close()
		cfg.MaxEventBytes = 5 << 20
		s = take(t, mustSource(t, cfg), entrain.SnapshotRequest{})
		expectStop(t, readTable(t, s, 0, func(*entrain.Event) {}), "event_too_large")
	})
}
